"""What EDR's pages in JSON say, as OGC 19-086r6 names it. Coverages and GeoJSON have their own standards."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Link(BaseModel):
    href: str = Field(description="Address.")
    rel: str = Field(description="How it is related, by its IANA name or as EDR says.")
    type: str = Field(description="Media type.")
    title: str = Field(description="What it is, in English.")


class Landing(BaseModel):
    title: str = Field(description="Name of the service.")
    description: str = Field(description="What it has.")
    links: list[Link] = Field(description="To what is implemented, the collections and the description of the API.")


class Conformance(BaseModel):
    conformsTo: list[str] = Field(description="Conformance classes of OGC API that are implemented.")


class Spatial(BaseModel):
    bbox: list[tuple[float, float, float, float]] = Field(
        description="West, south, east and north in degrees (WGS 84) around the devices."
    )
    crs: str = Field(description="Coordinate reference system of the box.")


class Temporal(BaseModel):
    interval: list[tuple[str, str]] = Field(description="First and last reading, ISO 8601 in UTC.")
    values: list[str] = Field(description="The same as one text each, with / between.")
    trs: str = Field(description="Temporal reference system.")


class Extent(BaseModel):
    spatial: Spatial
    temporal: Temporal | None = Field(None, description="Left out while there are no readings.")


class QueryVariables(BaseModel):
    title: str = Field(description="What is asked for, in English.")
    query_type: str = Field(description="locations, position or area.")
    output_formats: list[str] = Field(description="Values of `f`.")
    default_output_format: str = Field(description="The format without `f`.")
    crs_details: list[dict[str, str]] = Field(description="Values of `crs`, each with its definition as WKT.")


class QueryLink(BaseModel):
    href: str = Field(description="Address of the query.")
    rel: str = Field(description="data.")
    templated: bool = Field(description="Whether parts of the address have to be filled in.")
    variables: QueryVariables


class DataQuery(BaseModel):
    link: QueryLink


class ObservedProperty(BaseModel):
    id: str = Field(description="What is measured, as a URI: of the CF conventions where they name it.")
    label: str = Field(description="What is measured, in English.")


class UnitSymbol(BaseModel):
    value: str = Field(description="The unit in UCUM.")
    type: str = Field(description="Which system the symbol is from.")


class ParameterUnit(BaseModel):
    label: str = Field(description="The unit as people read it.")
    symbol: UnitSymbol | None = Field(None, description="Left out where nobody has described the stream.")


class ParameterName(BaseModel):
    type: Literal["Parameter"] = Field(description="As CoverageJSON names it.")
    id: str = Field(description="The quantity.")
    observedProperty: ObservedProperty
    unit: ParameterUnit


class Collection(BaseModel):
    id: str = Field(description="The pilot, by its id.")
    title: str = Field(description="As people call it, in English.")
    description: str = Field(description="Its question, in English.")
    keywords: list[str] = Field(description="Quantities that it measures.")
    links: list[Link] = Field(description="To this description and to the devices.")
    extent: Extent
    data_queries: dict[str, DataQuery] = Field(description="By kind: what may be asked, and where.")
    crs: list[str] = Field(description="Coordinate reference systems that queries take.")
    output_formats: list[str] = Field(description="Formats of readings.")
    parameter_names: dict[str, ParameterName] = Field(
        description="Each quantity as a parameter of CoverageJSON: what is observed, and its unit."
    )


class Collections(BaseModel):
    links: list[Link] = Field(description="To this list.")
    collections: list[Collection] = Field(description="Pilots with a device that has a position.")
