"""Behaviour by name: what a row says decides, not the name of a row or its class."""

import ast
import functools
import importlib
import re
from pathlib import Path

import pytest

from tests.test_architecture import DOTTED, MODULES, ROOT, TABLES, nodes, of_every_module, parsed

# Words that are names of rows and also something else, where they are compared.
OTHER_MEANINGS = {
    "none": "a value of many settings",
    "auto": "a value of many settings",
    "cpu": "a device",
    "gpu": "a device",
    "full": "a value of settings",
    "last": "a word of --unfreeze",
    ".keras": "the ending of a file",
    "tensorflow": "a package",
    "keras": "a package",
    "onnx": "a package and the ending of a file",
    "Calibration": "a class of tlkeras.export",
}
# The same in one module.
MEANINGS_HERE = {
    ("tlkeras.data.sources.columns", "sequence"): "a title of a column of ids",
    ("tlkeras.data.sources.table", "image"): "what a column holds: encoded images",
    ("tlkeras.data.sources.table", "text"): "what a column holds",
    ("tlkeras.data.sources.tfds", "image"): "a feature of a data set",
}
TABLES_OF_FIGURES = ("tlkeras.selection.candidates",)  # published figures of backbones, each with its source


def registries():
    """Yields every registry of the product with the module that defines it."""
    for name, path in MODULES.items():
        names = re.findall(r"^([A-Z_]+)(?:: Registry\[.*\])? = Registry\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        for one in names:
            yield name, getattr(importlib.import_module(name), one)


@functools.cache
def registered():
    """Returns word -> (modules, packages) whose business it is, of names and aliases of rows, and of names and endings of their files.

    The modules are that of the registry and those that the row names. The packages are those of the latter, unless all rows share one.
    """
    owners = {}
    for module, registry in registries():
        for row in registry:
            named = {DOTTED.fullmatch(value)[1] for value in vars(row).values() if isinstance(value, str) and DOTTED.fullmatch(value)}
            own = {package_of(home) for home in named} - {package_of(module)}
            file = Path(getattr(row, "path", ""))  # of a format
            words = {row.name: own, **{alias: own for alias, name in registry.aliases().items() if name == row.name}}
            words = {file.name: {package_of(module)}, file.suffix: {package_of(module)}, **words}
            for word, packages in words.items():
                modules, others = owners.setdefault(word, (set(), set()))
                modules |= {module, *named}
                others |= packages
    return {word: homes for word, homes in owners.items() if word and word not in OTHER_MEANINGS}


def package_of(name):
    return name.rpartition(".")[0]


@functools.cache
def imported_names(module):
    """Returns local name -> (module of ours, name there) of what a module imports, at its top or later; without a name there for a module."""
    found = {}
    for node in nodes(parsed(module)[3]):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tlkeras"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = (inner, None) if inner in MODULES else (node.module, alias.name)
    return found


@functools.cache
def constants(module):
    """Returns name -> value of what a module assigns at its top."""
    return assigned(parsed(module)[3])


def assigned(tree):
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) and node.value else []
        for target in targets:
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=True) if both else [(target, node.value)]
            found |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return found


class Scope:
    """What names stand for in a module.

    Args:
        tree: of the module.
        names: local name -> (module of ours, name there).
    """

    def __init__(self, tree, names):
        self.tree, self.names, self.own = tree, names, assigned(tree)

    def resolved(self, node):
        """Returns the constant of this module or of another one of ours that an expression stands for; else the expression."""
        if isinstance(node, ast.Name):
            home, name = self.names.get(node.id, ("", None))
            return constants(home).get(name, node) if home in MODULES and name else self.own.get(node.id, node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home, name = self.names.get(node.value.id, ("", None))
            if home in MODULES and name is None:
                return constants(home).get(node.attr, node)
        if isinstance(node, ast.Attribute) and node.attr == "name":  # of a row that is looked up by its name
            row = self.resolved(node.value)
            if isinstance(row, ast.Call) and getattr(row.func, "attr", "") == "get" and row.args:
                return row.args[0]
        return node

    def texts(self, node):
        """Returns the texts that an expression holds: it is one, a collection of some, a table by them, or a constant that is one of these."""
        value = self.resolved(node)
        if isinstance(value, ast.Constant):
            return [value.value] if isinstance(value.value, str) else []
        parts = value.keys if isinstance(value, ast.Dict) else value.elts if isinstance(value, ast.Tuple | ast.List | ast.Set) else []
        return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]

    def compared(self):
        """Yields (line, text, whether it is written there) of every text that decides: something equals it, begins or ends with it, or is
        looked up in a table by it."""
        for node in nodes(self.tree):
            parts = []
            if isinstance(node, ast.Compare) and all(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in node.ops):
                parts = [node.left, *node.comparators]
            elif isinstance(node, ast.MatchValue):
                parts = [node.value]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("startswith", "endswith"):
                parts = node.args
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get" and node.args:
                parts = [] if isinstance(node.args[0], ast.Constant) else [node.func.value]
            elif isinstance(node, ast.Subscript) and isinstance(self.resolved(node.value), ast.Dict):
                parts = [] if isinstance(node.slice, ast.Constant) else [node.value]
            for part in parts:
                for text in self.texts(part):
                    yield node.lineno, text, self.resolved(part) is part and isinstance(node, ast.Compare | ast.MatchValue)


@of_every_module
def test_no_registered_name_is_branched_on_outside_its_row(module):
    name, path, _, tree = module
    if name.startswith(TABLES) or name in TABLES_OF_FIGURES:
        return
    for line, text, direct in Scope(tree, imported_names(name)).compared():
        modules, packages = registered().get(text, ({name}, set()))
        # A constant or a table stands for what several rows have in common, such as their runtime: the package of the registry may have it.
        packages = packages if direct else packages | {package_of(home) for home in modules} - {"tlkeras"}
        at_home = name in modules or package_of(name) in packages or (name, text) in MEANINGS_HERE
        assert at_home, f"{path.relative_to(ROOT)}:{line}: behaviour by the name {text!r} belongs into its row"


def test_words_that_mean_something_else_in_a_module_are_there():
    seen = {(name, text) for name, _ in MEANINGS_HERE for _, text, _ in Scope(parsed(name)[3], imported_names(name)).compared()}
    assert set(MEANINGS_HERE) <= seen


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("row.name == 'tflite'", [("tflite", True)]),
        ("name in ('tflite', 'onnx')", [("tflite", True), ("onnx", True)]),
        ("match name:\n    case 'tflite':\n        pass", [("tflite", True)]),
        ("path.endswith('.tflite')", [(".tflite", False)]),
        ("path.endswith(('.tflite', '.onnx'))", [(".tflite", False), (".onnx", False)]),
        ("{'tflite': 1, 'onnx': 2}[name]", [("tflite", False), ("onnx", False)]),
        ("{'tflite': 1}.get(name)", [("tflite", False)]),
        ("SIZES = {'tflite': 1}\nSIZES[name]", [("tflite", False)]),
        ("SIZES = {'tflite': 1}\nSIZES['tflite']", []),
        ("RECIPE = 'full'\nconfig.recipe == RECIPE", [("full", False)]),
        ("FIRST, SECOND = 'full', 'lora'\nconfig.recipe == SECOND", [("lora", False)]),
        ("ROW = FORMATS.get('tflite')\nROW.name in exports", [("tflite", False)]),
        ("there.KERAS == name", [("keras", False)]),
        ("THAT == name", [("keras", False)]),
        ("FORMATS.get('tflite')", []),
    ],
)
def test_what_decides_is_seen(code, found):
    names = {"there": ("tlkeras.export.runtimes", None), "THAT": ("tlkeras.export.runtimes", "KERAS")}
    assert [(text, direct) for _, text, direct in Scope(ast.parse(code), names).compared()] == found


@of_every_module
def test_no_class_of_a_row_is_asked_for_outside_itspackage_of(module):
    name, path, _, tree = module
    imported = {}
    for node in nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("tlkeras.modalities.", "tlkeras.tasks.")):
            imported |= {alias.asname or alias.name: node.module for alias in node.names}
    for node in nodes(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            for part in ast.walk(node.args[1]):
                home = imported.get(getattr(part, "id", ""))
                allowed = (
                    home is None or package_of(home) in ("tlkeras.modalities", "tlkeras.tasks") or package_of(home) == package_of(name)
                )
                assert allowed, f"{path.relative_to(ROOT)}:{node.lineno}: behaviour by the class {part.id} belongs into its row"
