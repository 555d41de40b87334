"""Importing CLIP beside a torchvision whose compiled operators load, as after any ordinary installation."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TORCH, TORCHVISION = (Path(find_spec(name).origin).parent for name in ("torch", "torchvision"))
OPERATORS = TORCHVISION / "_C.so"
needs_tools = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("nm") and OPERATORS.is_file()),
    reason="needs gcc, nm and torchvision's compiled operators",
)


def symbols(which: str, *libraries: Path) -> set[str]:
    """Names that shared libraries define or ask for."""
    listed = subprocess.run(["nm", "-D", f"--{which}-only", *libraries], capture_output=True, text=True).stdout
    return {line.split()[-1] for line in listed.splitlines() if len(line.split()) > 1}


@pytest.fixture(scope="module")
def matched(tmp_path_factory) -> dict[str, str]:
    """An environment in which torchvision's own operators load: empty functions stand in for CUDA's libraries."""
    folder = tmp_path_factory.mktemp("libraries")
    for library in TORCHVISION.with_name("torchvision.libs").glob("*.so*"):  # under the names that are asked for
        (folder / re.sub(r"\.[0-9a-f]{8}\.", ".", library.name)).symlink_to(library)
    names = ("libc10", "libtorch", "libtorch_cpu", "libtorch_python")
    there = symbols("defined", *(path for name in names if (path := TORCH / "lib" / f"{name}.so").is_file()))
    there = {name.partition("@")[0] for name in there}
    # A name with a version is one of the system's libraries, which are there.
    asked = sorted(n for n in symbols("undefined", OPERATORS) - there if n.startswith("_Z") and "@" not in n)
    source = folder / "stand_in.c"
    source.write_text(
        "".join(f'void f{i}(void) __asm__("{name}");\nvoid f{i}(void) {{}}\n' for i, name in enumerate(asked))
    )
    for name in ("libtorch_cuda", "libc10_cuda"):
        if not (TORCH / "lib" / f"{name}.so").is_file():
            code = source if name == "libtorch_cuda" else os.devnull
            subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / f"{name}.so", "-x", "c", code], check=True)
    return os.environ | {"LD_LIBRARY_PATH": f"{folder}:{os.environ.get('LD_LIBRARY_PATH', '')}"}


def python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@needs_tools
@pytest.mark.parametrize("first", ["", "import torchvision; "], ids=["ours first", "torchvision first"])
def test_the_import_survives_operators_that_load(matched, first):
    if python("import torchvision.extension as e; raise SystemExit(not e._has_ops())", matched).returncode:
        pytest.skip("the stand-ins do not let torchvision's operators load")
    done = python(f"{first}import motion_lib; motion_lib.load_model; print('imported')", matched)
    assert (done.returncode, done.stdout.strip()) == (0, "imported"), done.stderr[-2000:]


@needs_tools
def test_a_second_declaration_would_abort(matched):
    """What the import must not do, so that the test above is one that can fail."""
    code = "import torch, torchvision.extension as e; assert e._has_ops(); "
    code += "torch.library.define('torchvision::nms', '(Tensor a) -> Tensor')"
    before = "import torch; torch.library.define('torchvision::nms', '(Tensor a) -> Tensor'); import torchvision"
    assert python(code, matched).returncode != 0
    assert python(before, matched).returncode != 0


def test_the_import_survives_operators_that_do_not_load():
    done = python(
        "import motion_lib; motion_lib.load_model; import torchvision; print(torchvision.ops)", dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-2000:]
