"""The instructions of a pickle that PyTorch writes, carried out on plain values: numbers, texts, lists, tuples, dictionaries.

Python's own unpickler looks up classes and functions, calls them, and sets attributes of whatever stands on its stack. Here a name is a
`Name`, calling one makes a `Call`, and both hold what they were given: nothing of this process can be reached or changed. Instructions that
PyTorch does not write are refused. Source: the comments of Python's pickletools.py; torch/serialization.py, which writes protocol 2.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from tlkeras.errors import WeightsMismatch

LARGEST = 1 << 26  # bytes of one pickle, which holds names and shapes, not numbers
MOST = 2_000_000  # instructions, which take about a second; a checkpoint of 5,000 tensors and its optimizer has 400,000
LONGEST_NAME = 4096  # bytes of a module and a name
LARGEST_KEY = 1 << 60  # a number that is a key of a dictionary; optimizers have their parameters counted
PROTOCOLS = range(2, 6)


class Name(NamedTuple):
    """What a pickle refers to by module and name."""

    module: str
    name: str


class Call(NamedTuple):
    """What a pickle would call, and with what."""

    function: Any
    arguments: Any


class Reference(NamedTuple):
    """What a pickle says about an object that is stored outside of it."""

    pid: Any


class _Mark(NamedTuple):
    """Where the parts of a container begin on the stack."""


MARK = _Mark()
Resolve = Callable[[Any], Any]  # a Name, a Call or a Reference -> the value that takes its place


def load(file: BinaryIO, resolve: Resolve) -> Any:
    """Returns the value of the next pickle of a file.

    Args:
        file: stands behind the pickle afterwards.
        resolve: what becomes of names, calls and references; raises for those that it does not know.

    Raises:
        WeightsMismatch: for an instruction that PyTorch does not write, or more of them than a checkpoint has.
        EOFError, IndexError, KeyError, ValueError: when the pickle is damaged.
    """
    return _Machine(file, resolve).run()


class _Machine:
    """A stack, a memo, and the bytes that are left."""

    def __init__(self, file: BinaryIO, resolve: Resolve):
        self._file, self._resolve = file, resolve
        self._left, self._steps = LARGEST, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Carries out instructions up to the last one."""
        while self._steps < MOST:
            self._steps += 1
            code = self._read(1)
            if code == b".":
                return self._stack.pop()
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                raise WeightsMismatch(
                    f"the checkpoint contains the pickle instruction {code!r}, which PyTorch does not write; "
                    "refused: save its state_dict() alone, or as safetensors"
                )
            instruction(self)
        raise WeightsMismatch(f"the checkpoint's pickle has more than {MOST:,} instructions; expected names and shapes of tensors")

    # === Bytes ===

    def _read(self, count: int) -> bytes:
        """Reads so many bytes; a length that lies reserves no memory."""
        if not 0 <= count <= self._left:
            raise EOFError(f"a value of {count:,} bytes in a pickle of at most {LARGEST:,}")
        self._left -= count
        content = self._file.read(count)
        if len(content) != count:
            raise EOFError("the pickle ends early")
        return content

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._read(struct.calcsize(form)))[0]

    def _line(self) -> str:
        line = self._file.readline(min(LONGEST_NAME, self._left))
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise EOFError("a name without an end")
        return line[:-1].decode("utf-8")

    # === Stack ===

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is MARK:
            raise ValueError("a container begins where a value is expected")
        return value

    def _since_mark(self) -> list[Any]:
        """Takes the values behind the last mark from the stack."""
        index = next(i for i in range(len(self._stack) - 1, -1, -1) if self._stack[i] is MARK)
        values = self._stack[index + 1 :]
        del self._stack[index:]
        return values

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise ValueError(f"a {type(self._stack[-1]).__name__} where a {kind.__name__} is expected")
        return self._stack[-1]

    # === Instructions ===

    def protocol(self) -> None:
        if (number := self._read(1)[0]) not in PROTOCOLS:
            raise ValueError(f"pickle protocol {number}")

    def frame(self) -> None:
        """How many bytes follow, for readers that fetch them at once."""
        self._read(8)

    def drop(self) -> None:
        self._pop()

    def text(self, form: str) -> None:
        self._push(self._read(self._number(form)).decode("utf-8"))

    def old_text(self, form: str) -> None:
        """A text of Python 2, in whose checkpoints names of tensors are such."""
        self._push(self._read(self._number(form)).decode("latin-1"))

    def tuple_of(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def set_items(self, values: list[Any]) -> None:
        if not all(map(_is_key, values[::2])):
            raise ValueError("a key that is neither a text nor a number, or too large a number")
        self._top(dict).update(zip(values[::2], values[1::2], strict=True))

    def set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self.set_items([key, value])

    def append(self) -> None:
        value = self._pop()
        self._top(list).append(value)

    def global_name(self) -> None:
        module = self._line()
        self._push(self._resolve(Name(module, self._line())))

    def stack_name(self) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self._push(self._resolve(Name(module, name)))

    def reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        # What is copied counts as so many instructions: one long list could be copied as often as there are instructions.
        self._steps += sum(len(argument) for argument in arguments if isinstance(argument, list | tuple | dict))
        self._push(self._resolve(Call(function, arguments)))

    def build(self) -> None:
        """Leaves out the attributes of an ordered dictionary, `_metadata`; nothing else that PyTorch writes has any."""
        self._pop()
        self._top(dict)

    def reference(self) -> None:
        self._push(self._resolve(Reference(self._pop())))

    def put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]


def _is_key(value: Any) -> bool:
    """Whether a dictionary may hold a value as a key.

    Only plain ones: the hash of a tuple in a tuple in a tuple … overflows the stack of the process. No large numbers: all multiples of
    2^61 - 1 have one hash, so that each is compared with all before it; the hashes of texts and bytes nobody can choose.
    """
    if isinstance(value, int):
        return abs(value) < LARGEST_KEY
    return value is None or isinstance(value, str | bytes | float)


def _since_mark(use: Callable[[_Machine, list[Any]], None]) -> Callable[[_Machine], None]:
    return lambda machine: use(machine, machine._since_mark())


# Left out on purpose: GLOBAL by extension (EXT1…4), INST, OBJ, NEWOBJ and NEWOBJ_EX, which make objects of classes; DUP, POP_MARK, sets,
# byte arrays and buffers, and the numbers and texts of protocol 0, which PyTorch never wrote.
INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": _Machine.protocol,
    b"\x95": _Machine.frame,
    b"(": lambda machine: machine._push(MARK),
    b"0": _Machine.drop,
    b"N": lambda machine: machine._push(None),
    b"\x88": lambda machine: machine._push(True),
    b"\x89": lambda machine: machine._push(False),
    b"J": lambda machine: machine._push(machine._number("<i")),
    b"K": lambda machine: machine._push(machine._number("<B")),
    b"M": lambda machine: machine._push(machine._number("<H")),
    b"\x8a": lambda machine: machine._push(int.from_bytes(machine._read(machine._number("<B")), "little", signed=True)),
    b"G": lambda machine: machine._push(machine._number(">d")),
    b"X": lambda machine: machine.text("<I"),
    b"\x8c": lambda machine: machine.text("<B"),
    b"\x8d": lambda machine: machine.text("<Q"),
    b"T": lambda machine: machine.old_text("<i"),
    b"U": lambda machine: machine.old_text("<B"),
    b"B": lambda machine: machine._push(machine._read(machine._number("<I"))),
    b"C": lambda machine: machine._push(machine._read(machine._number("<B"))),
    b")": lambda machine: machine._push(()),
    b"\x85": lambda machine: machine.tuple_of(1),
    b"\x86": lambda machine: machine.tuple_of(2),
    b"\x87": lambda machine: machine.tuple_of(3),
    b"t": _since_mark(lambda machine, values: machine._push(tuple(values))),
    b"]": lambda machine: machine._push([]),
    b"a": _Machine.append,
    b"e": _since_mark(lambda machine, values: machine._top(list).extend(values)),
    b"}": lambda machine: machine._push({}),
    b"s": _Machine.set_item,
    b"u": _since_mark(_Machine.set_items),
    b"c": _Machine.global_name,
    b"\x93": _Machine.stack_name,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
    b"Q": _Machine.reference,
    b"q": lambda machine: machine.put(machine._number("<B")),
    b"r": lambda machine: machine.put(machine._number("<I")),
    b"\x94": lambda machine: machine.put(len(machine._memo)),
    b"h": lambda machine: machine._push(machine._memo[machine._number("<B")]),
    b"j": lambda machine: machine._push(machine._memo[machine._number("<I")]),
}
