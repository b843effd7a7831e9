"""Who imports whom, who owns which library, and that no half of a pixel strays: read from the sources, not run."""

import ast
import subprocess
import sys
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import rtpe

PACKAGE = Path(rtpe.__file__).parent
ERRORS = {"errors"}
GEOMETRY = ERRORS | {"skeleton", "geometry"}
FOUNDATION = GEOMETRY | {
    "version",
    "heads",
    "draw",
    "files",
    "plain",
    "structures",
    "images",
    "raster",
    "jpeg",
    "native_output",
    "protocols",
    "running",
    "settings",
}
ANYTHING = None
MAY_IMPORT = {
    "errors": set(),
    "version": set(),
    "heads": set(),
    "files": set(),
    "plain": set(),
    "sides": set(),
    "jpeg": set(),
    "native_output": set(),
    "settings": ERRORS | {"files", "plain"},
    "skeleton": ERRORS | {"sides", "plain"},
    "geometry": ERRORS,
    "raster": {"geometry"},
    "draw": GEOMETRY | {"raster"},
    "structures": GEOMETRY | {"draw", "heads"},
    "images": ERRORS | {"files", "jpeg", "native_output", "plain", "raster"},
    "running": {"images", "protocols", "structures"},
    "protocols": ERRORS | {"images", "skeleton", "structures"},
    "device": ERRORS | {"settings"},
    "shortages": ERRORS,
    "nets": ERRORS | {"files", "heads", "plain", "settings", "skeleton"},
    "decode": FOUNDATION,
    "cache": FOUNDATION,
    "synthetic": FOUNDATION,
    "data": FOUNDATION | {"cache"},
    "predictors": FOUNDATION | {"nets", "decode", "data", "device"},
    "report": FOUNDATION | {"nets", "cache", "data"},
    "evaluation": FOUNDATION | {"cache", "decode", "data", "predictors", "report", "device", "shortages"},
    "live": FOUNDATION | {"data", "evaluation", "report"},
    "training": FOUNDATION
    | {"nets", "decode", "cache", "data", "predictors", "evaluation", "report", "device", "shortages"},
    "demo": FOUNDATION | {"cache", "data", "evaluation", "predictors", "report", "synthetic", "training"},
    "cli": ANYTHING,
}
OWNERS = {
    "cv2": ("rtpe.images", "rtpe.raster", "rtpe.draw", "rtpe.video", "rtpe.synthetic", "rtpe.data.video"),
    "pycocotools": ("rtpe.evaluation", "rtpe.data", "rtpe.synthetic"),
    "faster_coco_eval": ("rtpe.evaluation",),
    "h5py": ("rtpe.cache",),
    "zstandard": ("rtpe.cache",),
    "scipy": ("rtpe.decode", "rtpe.data"),
    "tensorboardX": ("rtpe.report.log",),
    "jsonargparse": ("rtpe.settings",),
    "lightning_fabric": ("rtpe.training",),
}
EXTRAS = {
    "onnx", "onnxscript", "onnxruntime", "openvino", "transformers", "mmpose", "mmengine", "diffusers",
    "faster_coco_eval", "huggingface_hub",
}  # fmt: skip
LAZY_IN = ("rtpe.predictors.adapters", "rtpe.nets.diffusion", "rtpe.nets.pretrained", "rtpe.evaluation")
RUNNING = {"pickle", "dill", "joblib", "marshal", "shelve"}
NAMELESS = {"utils", "util", "helpers", "misc", "common", "third_party", "legacy"}
HALVES = {0.5, 0.25}
NEEDED = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}


def _name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {_name(path): ast.parse(path.read_text(), str(path)) for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {_name(path) for path in PACKAGE.rglob("__init__.py")}


def _imports(module, node):
    """The dotted names that one import statement of a module asks for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        package = parts[: len(parts) - node.level + (module in PACKAGES)]
        base = ".".join([*package, *([node.module] if node.module else [])])
    deeper = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in TREES else base for name in deeper]


def _all_imports(module):
    return [name for node in ast.walk(TREES[module]) for name in _imports(module, node)]


def _unit(module):
    return module.split(".")[1] if "." in module else ""


def _within(module, owners):
    return any(module == owner or module.startswith(f"{owner}.") for owner in owners)


def _nodes(kind):
    """(place, node) of every such node of the sources."""
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield f"{module}:{node.lineno}", node


def _given(call):
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_imports_follow_the_table():
    """A net that reads settings, or a decoder that knows the cache, would no longer be usable alone."""
    units = {_unit(module) for module in TREES} - {""}
    assert units <= MAY_IMPORT.keys(), "a new unit wants a line in this table and in that of docs/architecture.md"
    wrong = []
    for module in TREES:
        unit = _unit(module)
        allowed = MAY_IMPORT.get(unit, set()) if unit else ANYTHING  # rtpe itself resolves what is public
        used = {_unit(name) for name in _all_imports(module) if name.split(".")[0] == "rtpe"} - {"", unit}
        wrong += [] if allowed is ANYTHING else [f"{module} imports {name}" for name in sorted(used - allowed)]
    assert wrong == []


def test_no_import_cycles():
    """A cycle works or fails by which module is imported first."""
    graph = {
        module: {name for name in _all_imports(module) if name in TREES and not _within(module, [name])}
        for module in TREES
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_libraries_stay_with_their_owners(library):
    """With two owners of OpenCV or HDF5 there are soon two conventions."""
    users = {module for module in TREES if any(name.split(".")[0] == library for name in _all_imports(module))}
    assert [user for user in sorted(users) if not _within(user, OWNERS[library])] == []


def test_one_module_writes_files():
    """A second way would leave half of a file, follow links, or have a name that can be guessed."""
    calls = {(place.split(":")[0], ast.unparse(node.func)) for place, node in _nodes(ast.Call)}
    ways = {"os.replace", "os.rename", "np.save", "np.savez", "save_file", "cv2.imwrite"}
    others = [
        f"{module}: {way}" for module, way in calls if way.split(".")[-1] in ("write_text", "write_bytes", "tofile")
    ]
    others += [f"{module}: {way}" for module, way in calls if way in ways and module != "rtpe.files"]
    in_memory = "rtpe.cache.npz: np.savez"
    into_its_file = "rtpe.data.labels.derived: np.savez"
    a_folder = "rtpe.cache.folder: os.rename"
    assert sorted(others) == sorted([in_memory, into_its_file, a_folder])


def test_one_file_opens_videos():
    """Seeking is exact with some codecs alone: frames come from the reader that checks."""
    users = {place.split(":")[0] for place, node in _nodes(ast.Attribute) if node.attr == "VideoCapture"}
    assert users == {"rtpe.data.video"}


def test_extras_are_imported_late():
    """An extra imported at the top, or by the core, would become a requirement of everybody."""
    wrong = []
    for module, tree in TREES.items():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        inside = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            extras = {name.split(".")[0] for name in _imports(module, node)} & EXTRAS
            if extras and (id(node) not in inside or not _within(module, LAZY_IN)):
                wrong.append(f"{module}:{node.lineno} imports {', '.join(extras)}")
    assert wrong == []


def test_no_nameless_modules():
    """A helper lives beside its one user; with two it has a name of its own."""
    assert [module for module in TREES if set(module.split(".")) & NAMELESS] == []


@pytest.mark.parametrize("folder", ["models", "datasets"])
def test_data_folders_hold_no_python(folder):
    """A package called datasets would shadow the one of that name."""
    assert list((PACKAGE.parent / folder).glob("*.py")) == []


def test_importing_the_package_is_light():
    """`import rtpe` answers at once: torch alone takes seconds."""
    code = "import sys, rtpe; print(*sorted({'torch', 'cv2', 'numpy', 'lightning_fabric'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_list_of_commands_is_light():
    """`rtpe --help` answers without torch, and so does a wrong name of a command."""
    code = "import sys, rtpe.cli; rtpe.cli.usage(); print(*sorted({'torch', 'scipy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_one_file_knows_halves():
    """A half added in a second place shifts every joint, and no score says by how much."""
    own_convention = ("rtpe.geometry", "rtpe.synthetic")  # the drawn world has a camera of its own, in metres
    wrong = []
    for place, node in _nodes(ast.BinOp):
        values = {getattr(side, "value", None) for side in (node.left, node.right)}
        half = isinstance(node.op, ast.Add | ast.Sub) and values & HALVES
        if half and not _within(place.split(":")[0], own_convention):
            wrong.append(f"{place} {ast.unparse(node)}: use index_to_point or point_to_index")
    assert wrong == []


def test_a_resize_is_a_pure_factor():
    """`align_corners=True` is another pixel convention; left unsaid, it is a default that has changed before."""
    wrong = []
    for place, node in _nodes(ast.Call):
        given = _given(node)
        smooth = given.get("mode") in ("'bilinear'", "'bicubic'")
        if given.get("align_corners", "unsaid" if smooth else "False") != "False":
            wrong.append(f"{place} {ast.unparse(node)}")
    assert wrong == []


def test_nothing_that_is_read_can_run():
    """A pickle, or a setting that is evaluated, runs whatever its author wished."""
    wrong = [
        f"{module} imports {name}" for module in TREES for name in _all_imports(module) if name.split(".")[0] in RUNNING
    ]
    for place, node in _nodes(ast.Call):
        called = ast.unparse(node.func)
        if called in ("eval", "exec") or (called in NEEDED and NEEDED[called] not in _given(node).items()):
            wrong.append(f"{place} {ast.unparse(node)}")
    assert wrong == []


def test_no_folder_of_tests_is_passed_over(pytestconfig):
    """pytest leaves out some names of folders, such as `build`, and says nothing."""
    left_out = pytestconfig.getini("norecursedirs")
    here = Path(__file__).parent
    folders = {part for path in here.rglob("test_*.py") for part in path.relative_to(here).parent.parts}
    assert not [name for name in folders if any(fnmatch(name, pattern) for pattern in left_out)]
