"""Every command on a small cohort, each process watched: what it asked the network for, and what it left behind.

A process runs under strace in a network of its own (where the system permits), with an empty home, an empty folder for
temporary files and an empty working folder. Python's own ``__pycache__`` is switched off.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.knee_volumes import knee, write_segmentation
from tests.mr_oracle import affine_at, digital_labels, gray_of, write_oracle
from tests.mr_scans import write_nifti

from mris.cohort.cohort import Cohort

REPOSITORY = Path(__file__).resolve().parents[1]

_CALLS = (
    "%network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat"
)
_INET_CALL = re.compile(r"^(connect|sendto|sendmsg|sendmmsg|bind)\(.*sa_family=AF_(INET6?|NETLINK|PACKET)")
_INET_SOCKET = re.compile(r"^socket\(AF_(INET6?|NETLINK|PACKET)")
_IPV6_TRIED = re.compile(r'^bind\(.*sin6_port=htons\(0\).*"::1"')
_OPENED = re.compile(r"^(?:open|openat|creat)\(.*(?:O_WRONLY|O_RDWR|O_CREAT|^creat).* = \d+<(/.*)>$")
_MADE = re.compile(r'^(?:mk|re|li|sy)\w+\(.*"([^"]+)"[^"]*\) = 0$')
_OPEN_TO_ALL = ("/dev/null", "/dev/tty", "/dev/pts/", "/proc/", "/dev/ptmx")

_HELD_OPEN = """
import sys, time
started, seconds = time.monotonic(), float(sys.argv.pop(1))
code = 0
{body}
print("@done", flush=True)
time.sleep(max(0.0, seconds - (time.monotonic() - started)))
sys.exit(code)
"""
_COMMAND = """
from mris.cli.entry import main
sys.argv[0] = "mris"
try:
    main()
except SystemExit as leaving:
    code = leaving.code or 0
"""
_COMMANDS = """
import json
from mris.cli.entry import main
for line in sys.stdin:
    sys.argv = ["mris", *json.loads(line)]
    print("$", *sys.argv, flush=True)
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code or code
    print("@done", flush=True)
"""
_BEGIN = {("train",), ("synthesize",), ("experiment",)}
"""Commands with which a new process begins: these load the most libraries."""

DEMO_OF_ONE_QUERY = "from mris.cli import demo\ndemo.N_QUERIES = 1\n" + _COMMAND
"""A program that is ``mris demo``, but draws the pictures of one query instead of six."""
_SESSION = """
import mris
from mris.knee import joint_detector
session = joint_detector._session()
"""


@dataclass(frozen=True)
class Trace:
    """What a process and its children did.

    Attributes:
        code: the exit code.
        output: what it printed, errors too.
        connections: system calls that would reach another machine, or that look for one.
        left: files and folders that are there since, outside those that were asked for.
    """

    code: int
    output: str
    connections: tuple[str, ...]
    left: tuple[str, ...]


@dataclass
class Watched:
    """A process that runs.

    Attributes:
        name: what it is called.
        asked: the folder whose contents it may change.
        around: folder of its home, temporary files, working folder and traces.
    """

    name: str
    asked: Path
    around: Path
    process: "subprocess.Popen[str]"
    printed: list[str] = field(default_factory=list)

    def do(self, step: Sequence[object]) -> None:
        """Let a process of `start_commands` do one more command, and wait until it is done."""
        assert self.process.stdin is not None
        self.name += ", " * bool(self.name) + _name(step)
        self.process.stdin.write(json.dumps([str(one) for one in step]) + "\n")
        self.process.stdin.flush()
        self.wait_until_done()

    def wait_until_done(self) -> None:
        """Wait until the work is done; the process may be held open after it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "@done\n":
                return
            self.printed.append(line)

    def trace(self) -> Trace:
        """Wait until it ends, and read what it did."""
        rest, _ = self.process.communicate()
        calls = [
            line
            for path in sorted(self.around.glob("trace.*"))
            for line in path.read_text(errors="replace").splitlines()
        ]
        return Trace(
            self.process.returncode,
            "".join(self.printed) + rest,
            tuple(_connections(calls)),
            tuple(sorted(_left(calls, self.asked, self.around))),
        )


def start(
    name: str,
    code: str,
    arguments: Sequence[object],
    asked: Path,
    around: Path,
    *,
    seconds: float = 0.0,
    network: bool = False,
) -> Watched:
    """Start a Python program that may write to `asked` alone, and hold it open until it is so many seconds old."""
    shutil.rmtree(around, ignore_errors=True)
    for part in ("home", "tmp", "cwd"):
        (around / part).mkdir(parents=True)
    variables = {
        "HOME": str(around / "home"),
        "TMPDIR": str(around / "tmp"),
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as a notebook sets it
    }
    strace = ["strace", "-ff", "-y", "-qq", "-s", "4096", "--seccomp-bpf", "-e", f"trace={_CALLS}"]
    program = [sys.executable, "-c", _HELD_OPEN.format(body=code), str(seconds), *map(str, arguments)]
    process = subprocess.Popen(
        [*(() if network else _no_network()), *strace, "-o", str(around / "trace"), *program],
        cwd=around / "cwd",
        env=variables,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Watched(name, asked, around, process)


def start_command(
    arguments: Sequence[object], asked: Path, around: Path, seconds: float = 0.0, *, network: bool = False
) -> Watched:
    """Start ``mris ARGUMENTS``."""
    return start(_name(arguments), _COMMAND, arguments, asked, around, seconds=seconds, network=network)


def start_commands(asked: Path, around: Path) -> Watched:
    """Start a process that does one command after another (`Watched.do`); it ends with the last exit code but 0."""
    return start("", _COMMANDS, (), asked, around)


def walk(work: Path, base: Path) -> Iterator[Watched]:
    """Do all `steps` in a few processes, which have ended their work when they are given."""
    watched: Watched | None = None
    for number, step in enumerate(steps(work)):
        if watched is None or tuple(_name(step).split()[1:]) in _BEGIN:
            if watched is not None:
                yield watched
            watched = start_commands(work, base / str(number))
        watched.do(step)
    if watched is not None:
        yield watched


def _name(step: Sequence[object]) -> str:
    return " ".join(["mris", *(str(one) for one in step[:2] if not isinstance(one, Path))])


def start_session(asked: Path, around: Path, seconds: float) -> Watched:
    """Start a program that uses the package from Python, with a session of ONNX Runtime that stays open."""
    return start("import mris, a session of ONNX Runtime", _SESSION, (), asked, around, seconds=seconds)


def steps(work: Path) -> Iterator[list[object]]:
    """Every command that needs no archive, small, in an order in which each finds what it needs."""
    knees, cohort, run, bundle, unet = (work / name for name in ("knees", "cohort", "run", "knees.bundle", "unet"))
    few, tiny = ["--workers", 1, "--quiet"], ["--set", "width=8", "--set", "batch_size=8", "--epochs", 2, "--quiet"]
    yield ["phantom", knees, "--subjects", 24, "--size", 32, "--visits", 1, *few]
    yield ["check", knees / "manifest.csv", "--size", 32, "--qc", work / "quality.html", *few]
    yield ["prepare", knees / "manifest.csv", cohort, "--size", 32, "--mirror", "right", "--workers", 2, "--quiet"]
    yield ["train", cohort, run, "--set", "embedding_dim=8", *tiny]
    yield ["index", run, cohort, bundle, "--quiet"]
    yield ["bundle", "list", bundle, "--subjects"]
    yield ["bundle", "add", bundle, cohort, "--splits", "val", "--quiet"]
    yield ["bundle", "remove", bundle, _a_subject(cohort, "val")]
    yield ["bundle", "index", bundle]
    yield ["bundle", "purge", bundle]
    yield ["bundle", "verify", bundle]
    query = knees / _a_subject(cohort, "test") / "00_left.png"
    yield ["synthesize", bundle, query, "--side", "left", "--out", work / "maps", "--formats", "nifti,npz,png"]
    yield ["baseline", "train", cohort, unet, "--method", "unet", *tiny]
    yield ["baseline", "synthesize", unet, query, "--side", "left", "--out", work / "unet_maps"]
    yield ["baseline", "remove", unet, _a_subject(cohort, "train")]
    yield ["evaluate", bundle, cohort, "--out", work / "report", "--bootstrap", 20, "--baseline", f"unet={unet}"]
    yield ["experiment", cohort, "--out", work / "experiment", "--preset", "smoke", "--dry-run"]
    yield ["bench", bundle, "--rounds", 1, "--no-train"]
    yield ["phantom", work / "oai", "--layout", "oai", "--subjects", 1, "--size", 32, "--visits", 1, *few]
    places = [part for name in ("sheets", "radiographs", "thickness") for part in (f"--{name}", work / "oai" / name)]
    yield ["import", "oai", work / "imported", *places, "--val-fold", "none", "--quiet"]
    plate = next(path for path in (work / "oai" / "radiographs").rglob("*") if path.is_file())
    yield ["radiograph", plate, "--out", work / "regions", "--overlay", "--quiet"]
    dicom = ["--dicom", "--deidentify", "--quiet"]
    yield ["synthesize", bundle, plate, "--knees", "detect", "--out", work / "plate_maps", *dicom]
    scan = write_segmentation(work / "S1_L_00m.nii.gz", knee((2.0, 1.4, 1.4)))
    digital = ["--people", 60, "--shown", 20, "--size", 32, "--epochs", 1, "--quiet"]
    yield ["bundle", "make-digital", work / "digital.bundle", *digital]
    yield ["thickness", scan, "--labels", "oai_zib", "--dry-run", "--workers", 1, "--quiet"]
    write_nifti(work / "S1_L.nii.gz", gray_of(digital_labels()), affine_at())
    oracle = write_oracle(work / "oracle")
    yield ["segment", work / "S1_L.nii.gz", "--out", work / "segmentations", "--model", oracle, "--quiet"]


def demo(work: Path) -> list[object]:
    """The command that walks the whole road by itself."""
    return ["demo", work / "demo", "--subjects", 60, "--size", 32, "--epochs", 1, "--quiet"]


def _a_subject(cohort: Path, split: str) -> str:
    return str(Cohort.open(cohort).split(split).subjects[0])


@cache
def _no_network() -> tuple[str, ...]:
    """What starts a program where there is no network, not even loopback; nothing where that is not permitted."""
    command = ("unshare", "--net", "--")
    if shutil.which("unshare") is None:
        return ()
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else ()


def no_strace() -> str | None:
    """Why no process can be watched here; None if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "true"], capture_output=True)
    return None if tried.returncode == 0 else "strace may not trace processes here"


def _connections(calls: Sequence[str]) -> Iterator[str]:
    """Calls that name an address, and sockets but one kind: urllib3 binds ``[::1]:0`` to see whether there is IPv6.

    By that nothing is sent.
    """
    tried = sum(_IPV6_TRIED.match(call) is not None for call in calls)
    sockets = [call for call in calls if _INET_SOCKET.match(call)]
    yield from (call for call in calls if _INET_CALL.match(call) and not _IPV6_TRIED.match(call))
    yield from sockets[: max(0, len(sockets) - tried)]


def _left(calls: Sequence[str], asked: Path, around: Path) -> set[str]:
    named = {found[1] for call in calls for found in (_OPENED.match(call) or _MADE.match(call),) if found}
    paths = {around / "cwd" / name for name in named if not name.startswith(_OPEN_TO_ALL)}
    paths |= {path for part in ("home", "tmp", "cwd") for path in (around / part).rglob("*")}
    return {str(path) for path in paths if path.exists() and not path.is_relative_to(asked) and path.is_absolute()}
