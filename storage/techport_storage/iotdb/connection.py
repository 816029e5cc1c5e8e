"""The connection of an IoTStore: where the nodes of the cluster are, how they are asked, and what a refusal means.

Any node takes any request and passes it on to the one that leads the data in question. When that one dies, the others
choose a new leader within some seconds. So a request that got no answer, or the answer "not now", is made again, of
another node each time, until the time that the URL allows has passed. A second time does no harm; that the first one
may come after the second is what doubts.py is for.

Only what apache-iotdb generates from the protocol is used, and not its Session: that one has no limit for a node that
keeps silent, and hands over rows as Python objects.
"""

from __future__ import annotations

import logging
import re
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from techport_storage.errors import StoreIncompatible, StoreUnavailable
from techport_storage.iotdb.blocks import Block, block_of
from techport_storage.iotdb.tablets import Tablet
from techport_storage.store_url import Secret, take_choice, take_timeout

try:
    from iotdb.thrift.rpc import IClientRPCService as rpc
    from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
    from thrift.Thrift import TException
    from thrift.transport import TSocket, TSSLSocket, TTransport
except ModuleNotFoundError as error:
    raise StoreIncompatible("an IoTDB store needs the package apache-iotdb: pip install 'techport[iotdb]'") from error

logging.getLogger("thrift").setLevel(logging.CRITICAL)  # what it logs is raised as well, and may be no error here

T = TypeVar("T")

_URL = "iotdb://HOST:PORT,HOST:PORT,HOST:PORT/DATABASE?password_file=FILE"
_PORT = 6667
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")
_COPIES = 3
_IDLE = 16  # sessions kept open
_ROWS = 20_000  # of one block of an answer
_PING = 3.0  # s; a node that is silent for so long is asked whether it is there
_AVOIDED = 15.0  # s; a node that did not answer is asked last for so long
_PATIENCE = 10.0  # s, then twice as long each time; what takes longer may wait for a leader that is gone
_QUERY_MS = 24 * 3600 * 1000  # a query ends when its answer is read or given up, however slow the reader is
_PAUSES = (0.05, 1.0)  # s; between two attempts, the first and the longest

_SUCCESS = frozenset({200, 400})  # 400: there is a node that would have been nearer
_SEVERAL, _OUT_OF_TTL = 302, 607
_WRONG = frozenset(
    {201, 202, 205, 300, 303, 308, *range(500, 600), *range(612, 630), *range(700, 704), *range(750, 770)}
) - {507}  # "rollback create table failed": a node is away
_NOT_ALLOWED = range(800, 900)
"""Answers that stay the same however often one asks; all others mean "not now"."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a store URL says. The password is not in it, only where to find it."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    secret: Secret
    table: str = "reading"
    user: str = "root"
    ca_file: Path | None = None
    copies: int = _COPIES
    several_writers: bool = False
    timeout_s: float = 60.0

    @classmethod
    def parse(cls, url: str) -> Address:
        """`iotdb://host:6667,host:6667,host:6667/database?password_file=/run/secrets/iotdb`. Raises ValueError.

        Options: password_file=FILE or password_env=NAME (one is needed), user=root, table=reading, ca_file=FILE (TLS),
        writers=one|several (one), copies=1|2|3 (3; fewer are for trials), timeout=SECONDS (60).
        """
        rest = url.partition("://")[2]
        place, _, query = rest.partition("?")
        authority, _, database = place.partition("/")
        if "@" in authority:
            raise ValueError(f"an IoTDB URL carries no password; write {_URL}")
        if not authority or not database:
            raise ValueError(f"an IoTDB URL names nodes and a database: {_URL}")
        given = dict(parse_qsl(query, keep_blank_values=True))
        table, user = given.pop("table", "reading"), given.pop("user", "root")
        for name in (database, table):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name for a database or a table: use a-z, 0-9 and _")
        secret, ca_file = Secret.take(given, "password", "IoTDB"), given.pop("ca_file", None)
        writers, copies = take_choice(given, "writers", "one", "several"), given.pop("copies", str(_COPIES))
        timeout_s = take_timeout(given, 60.0)
        if given:
            raise ValueError(f"an IoTDB URL has no option {', '.join(sorted(given))} (a password belongs in a file)")
        if copies not in ("1", "2", "3"):
            raise ValueError(f"copies={copies}: use 3, or for a trial 1 or 2")
        return cls(
            hosts=tuple(_host(host) for host in authority.split(",")),
            database=database,
            secret=secret,
            table=table,
            user=user,
            ca_file=Path(ca_file) if ca_file else None,
            copies=int(copies),
            several_writers=writers == "several",
            timeout_s=timeout_s,
        )

    @property
    def place(self) -> str:
        """For messages."""
        return f"IoTDB at {','.join(f'{host}:{port}' for host, port in self.hosts)}"


class Refused(StoreUnavailable):
    """A node answered that it will not, with one of IoTDB's codes."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _NotNow(Exception):
    """An attempt that is worth another."""


class _Session:
    """A connection to one node, logged in. For one thread at a time."""

    def __init__(self, address: Address, password: str, host: tuple[str, int], database: str | None) -> None:
        self.host = host
        if address.ca_file is not None:
            context = ssl.create_default_context(cafile=str(address.ca_file))
            self._socket = TSSLSocket.TSSLSocket(*host, ssl_context=context)
        else:
            self._socket = TSocket.TSocket(*host)
        self._socket.setTimeout(_PING * 1000)
        self._transport = TTransport.TFramedTransport(self._socket)
        self.client = rpc.Client(TBinaryProtocolAccelerated(self._transport))
        chosen = {"db": database} if database is not None else {}
        request = rpc.TSOpenSessionReq(
            client_protocol=rpc.TSProtocolVersion.IOTDB_SERVICE_PROTOCOL_V3,
            zoneId="UTC",
            username=address.user,
            password=password,
            configuration={"version": "V_1_0", "sql_dialect": "table", **chosen},
        )
        try:
            self._transport.open()
            answer = self.client.openSession(request)
            check(address, answer.status)
            self.settings: dict[str, str] = answer.configuration or {}
            self.number = answer.sessionId
            self.statement = self.client.requestStatementId(answer.sessionId)
        except BaseException:
            self.close()
            raise
        self._socket.setTimeout(address.timeout_s * 1000)

    def send(self, method: str, request: Any) -> None:
        request.sessionId = self.number
        getattr(self.client, f"send_{method}")(request)

    def receive(self, method: str) -> Any:
        return getattr(self.client, f"recv_{method}")()

    def answers_within(self, seconds: float) -> bool:
        """Whether an answer is there, or begins to come within so many seconds."""
        poll = select.poll()
        poll.register(self._socket.handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        self._transport.close()


class Connection:
    """Requests to a cluster. Safe for threads. Every method raises StoreUnavailable."""

    def __init__(self, address: Address, password: str | None = None) -> None:
        """`password` in place of the one that the address names."""
        self.address = address
        self._password = address.secret.read() if password is None else password
        self._database: str | None = None
        self._lock = threading.Lock()
        self._idle: list[_Session] = []
        self._avoided: dict[tuple[str, int], float] = {}  # until when
        self._turn = 0

    def settings(self) -> dict[str, str]:
        """What a node says of itself when one logs in."""
        return self._again(lambda session, limit: session.settings, once=True)

    def use_database(self) -> None:
        """From here on requests mean the database of the address, which exists."""
        self._database = self.address.database
        self.close()

    def execute(self, statement: str) -> None:
        """A statement without an answer."""

        def attempt(session: _Session, limit: float) -> None:
            request = rpc.TSExecuteStatementReq(statement=statement, statementId=session.statement)
            answer = self._answer(session, "executeUpdateStatementV2", request, limit)
            check(self.address, answer.status)

        self._again(attempt)

    def insert(
        self, table: str, tablet: Tablet, *, once: bool = False, in_doubt: Callable[[], None] = lambda: None
    ) -> bool:
        """Store rows: in the logs of most nodes that keep a copy when this returns.

        Parameters
        ----------
        table : str
        tablet : Tablet
        once : bool
            With it, the first attempt decides.
        in_doubt : callable
            Called after an attempt that failed: what was sent may be carried out later all the same.

        Returns
        -------
        bool
            False where the server left out rows as too old for the table's TTL. The others are stored.
        """

        def attempt(session: _Session, limit: float) -> bool:
            request = rpc.TSInsertTabletReq(
                prefixPath=table,
                measurements=tablet.names,
                values=tablet.values,
                timestamps=tablet.times,
                types=tablet.types,
                size=tablet.rows,
                isAligned=False,
                writeToTable=True,
                columnCategories=tablet.categories,
            )
            try:
                status = self._answer(session, "insertTablet", request, limit)
                if _failures(status) == {_OUT_OF_TTL}:
                    return False
                check(self.address, status)
            except BaseException:
                in_doubt()
                raise
            return True

        return self._again(attempt, once=once)

    def query(self, statement: str) -> Iterator[Block]:
        """The answer of a SELECT or SHOW, block by block.

        A node that falls silent in the middle raises StoreUnavailable: another would answer of another moment.
        """

        def attempt(session: _Session, limit: float) -> tuple[_Session, Any]:
            request = rpc.TSExecuteStatementReq(
                statement=statement, statementId=session.statement, fetchSize=_ROWS, timeout=_QUERY_MS
            )
            answer = self._answer(session, "executeQueryStatementV2", request, limit)
            check(self.address, answer.status)
            return session, answer

        session, answer = self._again(attempt, keep=True)
        try:
            blocks, more = answer.queryResult, answer.moreData
            while True:
                for block in blocks or ():
                    yield block_of(block, answer.columnIndex2TsBlockColumnIndexList)
                if not more:
                    break
                request = rpc.TSFetchResultsReq(
                    statement=statement,
                    statementId=session.statement,
                    fetchSize=_ROWS,
                    queryId=answer.queryId,
                    isAlign=True,
                    timeout=_QUERY_MS,
                )
                part = self._answer(session, "fetchResultsV2", request, self.address.timeout_s)
                check(self.address, part.status)
                blocks, more = part.queryResult, part.moreData and part.hasResultSet
        except (_NotNow, TException, OSError) as error:
            session.close()
            raise StoreUnavailable(f"{self.address.place} broke off an answer: {error}") from error
        except GeneratorExit:
            self._end(session, answer)
            raise
        except BaseException:
            session.close()
            raise
        self._give(session)

    def close(self) -> None:
        with self._lock:
            sessions, self._idle = self._idle, []
        for session in sessions:
            session.close()

    def _end(self, session: _Session, answer: Any) -> None:
        """Tell the server that nobody wants the rest."""
        request = rpc.TSCloseOperationReq(queryId=answer.queryId, statementId=session.statement)
        try:
            self._answer(session, "closeOperation", request, _PING)
        except (_NotNow, TException, OSError):
            session.close()
        else:
            self._give(session)

    def _again(self, attempt: Callable[[_Session, float], T], *, once: bool = False, keep: bool = False) -> T:
        """Until an attempt succeeds, or the time is up. With `once` the first attempt decides.

        A node that is there may wait for one that is not. So the first attempt is given up soon, and the next ones
        later: what only takes long comes to its end as well.
        """
        deadline = time.monotonic() + self.address.timeout_s
        pause, longest = _PAUSES
        limit = _PATIENCE
        while True:
            try:
                return self._attempt(attempt, min(limit, self.address.timeout_s), keep)
            except _NotNow as error:
                if once or time.monotonic() + pause > deadline:
                    raise StoreUnavailable(str(error)) from error
            time.sleep(pause)
            pause = min(2 * pause, longest)
            limit *= 2

    def _attempt(self, attempt: Callable[[_Session, float], T], limit: float, keep: bool) -> T:
        session = self._take()
        try:
            result = attempt(session, limit)
        except (Refused, _Again):
            self._give(session)
            raise
        except _NotNow:
            self._avoid(session.host)
            session.close()
            raise
        except (TException, OSError) as error:
            self._avoid(session.host)
            session.close()
            raise _NotNow(f"{self.address.place} does not answer: {type(error).__name__}: {error}") from error
        except BaseException:
            session.close()
            raise
        if not keep:
            self._give(session)
        return result

    def _answer(self, session: _Session, method: str, request: Any, limit: float) -> Any:
        """Ask, and wait for the answer as long as the node is there."""
        session.send(method, request)
        deadline = time.monotonic() + limit
        while not session.answers_within(min(_PING, max(deadline - time.monotonic(), 0))):
            host, port = session.host
            if time.monotonic() >= deadline:
                raise _NotNow(f"IoTDB at {host}:{port} gave no answer within {limit:g} s")
            if not self._is_there(session.host):
                raise _NotNow(f"IoTDB at {host}:{port} fell silent")
        return session.receive(method)

    def _is_there(self, host: tuple[str, int]) -> bool:
        try:
            self._give(_Session(self.address, self._password, host, self._database))
        except (Refused, _NotNow, TException, OSError):
            return False
        return True

    def _take(self) -> _Session:
        now = time.monotonic()
        with self._lock:
            while self._idle:
                session = self._idle.pop(0)  # the one that rested longest, so that nodes take turns
                if self._avoided.get(session.host, 0) < now:
                    return session
                session.close()
            self._turn += 1
            hosts = list(self.address.hosts)
            hosts = hosts[self._turn % len(hosts) :] + hosts[: self._turn % len(hosts)]
            hosts.sort(key=lambda host: self._avoided.get(host, 0) > now)
        problem: Exception | None = None
        for host in hosts:
            try:
                return _Session(self.address, self._password, host, self._database)
            except (_NotNow, TException, OSError) as error:
                self._avoid(host)
                problem = error
        raise _NotNow(f"{self.address.place} does not answer: {type(problem).__name__}: {problem}") from problem

    def _give(self, session: _Session) -> None:
        with self._lock:
            if len(self._idle) < _IDLE:
                self._idle.append(session)
                return
        session.close()

    def _avoid(self, host: tuple[str, int]) -> None:
        with self._lock:
            self._avoided[host] = time.monotonic() + _AVOIDED


class _Again(_NotNow):
    """A node answered that something cannot be done now."""


def check(address: Address, status: Any) -> None:
    """Raise Refused, or _NotNow where asking again may help, unless a status says that it was done."""
    failures = _failures(status)
    if not failures:
        return
    code = min(failures, key=lambda code: code not in _WRONG and code not in _NOT_ALLOWED)
    parts = [status.message, *(part.message for part in status.subStatus or () if part.code == code)]
    message = f"{address.place} answered {code}: {'; '.join(part for part in parts if part)[:300]}"
    if code in _NOT_ALLOWED:
        raise Refused(code, f"{message} (user {address.user})")
    if code in _WRONG:
        raise Refused(code, message)
    raise _Again(message)


def _failures(status: Any) -> set[int]:
    """The codes of what was not done."""
    parts = status.subStatus if status.code == _SEVERAL and status.subStatus else [status]
    return {part.code for part in parts} - _SUCCESS


def _host(text: str) -> tuple[str, int]:
    name, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", str(_PORT))
    if not name or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is no node of an IoTDB cluster: write host:port")
    return name.strip("[]"), int(port)
