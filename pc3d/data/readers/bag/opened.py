"""A bag that is open: its topics, all messages in order, one message by its key."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pc3d.data.errors import DataError, fail
from pc3d.data.readers.bag.files import METADATA, BagPath, check_closed

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

_KEPT = 4
_AGAIN = "copy the bag again, or leave it out"
_lock = threading.RLock()
_open: OrderedDict[tuple[int, str], Bag] = OrderedDict()


@dataclass(frozen=True)
class Message:
    """A message of a bag.

    Attributes:
        topic, kind: its topic and type, `pkg/msg/Type`.
        log: nanoseconds, when it was recorded.
        key: finds it again: `TOPIC@LOG`, and `#N` for the N-th more of that time.
        content: as an object whose attributes are the fields of its type.
    """

    topic: str
    kind: str
    log: int
    key: str
    content: Any


class Bag:
    """A bag, opened for reading.

    Args:
        path: ROS 1 bag, folder of a ROS 2 bag, MCAP or db3 file.

    Raises:
        DataError: it is missing, was not closed, is truncated or of another kind.
        ImportError: the package `rosbags` is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        check_closed(path)
        reader_class, store = _rosbags()
        with self._errors():
            self._reader = reader_class([path], default_typestore=store)
            self._reader.open()
            self.start, self.end = int(self._reader.start_time), int(self._reader.end_time)
            self._by_topic: dict[str, list[Connection]] = {}
            for connection in self._reader.connections:
                self._by_topic.setdefault(connection.topic, []).append(connection)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    @property
    def packed_whole(self) -> bool:
        """Its files are compressed as wholes: one message costs unpacking all."""
        modes = [getattr(reader, "compression_mode", None) for reader in self._reader.readers]
        return "file" in modes

    @property
    def kinds(self) -> dict[str, str]:
        """Type of each topic."""
        return {topic: found[0].msgtype for topic, found in self._by_topic.items()}

    def count(self, topic: str) -> int:
        """Messages of a topic."""
        return sum(connection.msgcount for connection in self._by_topic.get(topic, []))

    def defined(self, topic: str) -> bool:
        """Whether the fields of a topic's type are known, from the bag or of ROS itself."""
        kind = self.kinds[topic]
        return kind in self._reader.typestore.fielddefs or kind in _rosbags()[1].fielddefs

    def messages(
        self, topics: Collection[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """The messages of some topics, ascending in log time.

        Args:
            start, stop: nanoseconds of log time, from and before.

        Raises:
            DataError: the bag ends early, or a message cannot be decoded.
        """
        wanted = [one for topic in topics for one in self._by_topic.get(topic, [])]
        if not wanted:
            return
        at: dict[str, tuple[int, int]] = {}
        with self._errors():
            for connection, log, raw in self._reader.messages(wanted, start, stop):
                topic = connection.topic
                last, number = at.get(topic, (-1, 0))
                number = number + 1 if last == log else 0
                at[topic] = log, number
                key = f"{topic}@{log}" + (f"#{number}" if number else "")
                yield Message(topic, connection.msgtype, log, key, self._decoded(connection, raw))

    def message(self, key: str) -> Message:
        """The message of a key.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        topic, _, when = key.rpartition("@")
        log = when.partition("#")[0]
        if topic in self._by_topic and log.isdigit():
            stamp = int(log)
            for message in self.messages([topic], stamp, stamp + 1):
                if message.key == key:
                    return message
        fail(f"the bag has no message {key!r}", self.path, "build the index of this bag again")

    def _decoded(self, connection: Connection, raw: bytes) -> Any:
        try:
            return self._reader.deserialize(raw, connection.msgtype)
        except KeyError:
            store = _rosbags()[1]
            if connection.msgtype not in store.fielddefs:
                fail(
                    f"topic {connection.topic} has the type {connection.msgtype}, whose definition is not "
                    "in the bag",
                    self.path,
                    "record it as MCAP, which stores definitions, or leave the topic out",
                )
            two = self._reader.is2
            return (store.deserialize_cdr if two else store.deserialize_ros1)(raw, connection.msgtype)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DataError, ImportError, GeneratorExit):
            raise
        except Exception as error:  # of a damaged file: of many kinds
            what = " ".join(str(error).split()) or type(error).__name__
            remedy = _AGAIN
            if "not indexed" in what:
                what, remedy = "the bag was not closed, it has no index", f"rosbag reindex {self.path}"
            raise DataError(
                f"the bag cannot be read: {what}\n  where: {self.path}\n  remedy: {remedy}"
            ) from error


@lru_cache(maxsize=1)
def _rosbags() -> tuple[Any, Any]:
    """The reader's class, and the types of ROS itself, for bags without definitions."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise ImportError("bags need the package rosbags: pip install 'pc3d[ros]'") from error
    return AnyReader, get_typestore(Stores.ROS2_HUMBLE)


@contextmanager
def opened(file: Path) -> Iterator[Bag]:
    """The bag of a path in an index, for the block; a few stay open for the next call of the process.

    Files that were open before a fork are not used after it: processes would move each other's place.
    """
    key = (os.getpid(), str(file))
    with _lock:
        if key not in _open:
            path = file.parent if file.name == METADATA else file
            if not path.exists():
                fail("the bag is missing", path, "check the root (`root=` moves it) or copy the bag again")
            _open[key] = Bag(path)
            for old in [other for other in _open if other[0] == key[0]][:-_KEPT]:
                _open.pop(old).close()
        _open.move_to_end(key)
        yield _open[key]


def open_bag(bag: BagPath) -> Bag:
    """A bag of its own, to be closed by the caller."""
    return Bag(bag.opened)
