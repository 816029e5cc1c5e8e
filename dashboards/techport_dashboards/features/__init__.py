"""OGC API Features: devices as features, for QGIS, ArcGIS and GDAL.

Of https://docs.ogc.org/is/17-069r4/17-069r4.html the classes Core and GeoJSON. A collection is a pilot.
"""

from techport_dashboards.features.routes import router as router
