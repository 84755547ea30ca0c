"""What a job needs, looked at for real, each with its fix; one that fails does not keep the others from being seen."""

import re
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from statistics import median

from pipeline.ledger.sql.health import Health, read_health
from pipeline.ports.ledger import Ledger
from pipeline.ports.storage import Storage
from pipeline.storage.catalog import VIEWS
from pipeline.storage.local import LocalStorage
from pipeline.storage.views import DATABASE, prepare_lake, view_script
from schemas import lake
from schemas.errors import NoSuchObject, TierwiseError
from schemas.finding import Finding, failed, graded
from schemas.job import JobSpec
from schemas.secrets import hide

LITTLE_DISK, NO_DISK = 2 * 2**30, 100 * 2**20  # bytes
SLOW_COMMIT_MS = 50
SKEW_MS = 1_000
COMMITS = 5
NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "lustre",
)
_BOUND = re.compile(r"(>=|<=|==|!=|~=|<|>)\s*([0-9][0-9A-Za-z.]*)")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": lambda have, bound: have >= bound,
    "<=": lambda have, bound: have <= bound,
    "==": lambda have, bound: have == bound,
    "!=": lambda have, bound: have != bound,
    "<": lambda have, bound: have < bound,
    ">": lambda have, bound: have > bound,
}


Check = Callable[[], Awaitable[Sequence[Finding]]]


async def checked(name: str, check: Check) -> list[Finding]:
    """What the check finds, or what it died of."""
    try:
        return list(await check())
    except TierwiseError as error:
        return [failed(name, error)]
    except Exception as error:
        said = hide(f"{type(error).__name__}: {error}".splitlines()[0])
        return [Finding(name=name, state="failed", said=said, exit_code=5)]


# versions


async def check_versions() -> list[Finding]:
    """The interpreter and the installed packages against the bounds that the package states."""
    try:
        stated, wanted = requires("tierwise") or [], metadata("tierwise")["Requires-Python"]
    except PackageNotFoundError:
        said = "tierwise is run from its sources: the bounds of its packages are not known"
        return [graded("versions", said, True, "pip install -e .")]
    python = ".".join(map(str, sys.version_info[:3]))
    wrong = [] if satisfies(python, wanted or "") else [f"Python {python} (needs {wanted})"]
    needed = [each for each in stated if ";" not in each]
    for each in needed:
        match = _NAME.match(each)
        name = match[0] if match else each
        try:
            have = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if not satisfies(have, each[len(name) :]):
            wrong.append(f"{name} {have} (needs {each[len(name) :].strip()})")
    if wrong:
        fix = "Install tierwise anew, in a venv of its own: pip install --upgrade tierwise."
        return [Finding(name="versions", state="failed", said="; ".join(wrong), fix=fix, exit_code=2)]
    said = f"tierwise {version('tierwise')} on Python {python}; {len(needed)} packages within their bounds"
    return [Finding(name="versions", state="ok", said=said)]


def satisfies(have: str, bounds: str) -> bool:
    """Whether a version lies within bounds such as `>=1.2,<2`."""
    return all(
        _COMPARE[sign](_numbers(have, bound), _numbers(bound, have))
        for sign, bound in _BOUND.findall(bounds)
        if sign in _COMPARE
    )


def _numbers(text: str, other: str) -> tuple[int, ...]:
    """`2.14` beside `2.14.1` as (2, 14, 0); what follows a letter is left out."""
    found = [int(each) for each in re.split(r"[A-Za-z+]", text)[0].split(".") if each.isdigit()]
    longest = max(text.count("."), other.count(".")) + 1
    return (*found, *[0] * (longest - len(found)))


# lake


async def check_lake(storage: Storage) -> list[Finding]:
    began = time.perf_counter()
    await storage.probe()
    took = (time.perf_counter() - began) * 1000
    await prepare_lake(storage)
    said = f"{storage.uri}: a second creation of an object is refused, as commits need; the probe took {took:.0f} ms"
    found = [Finding(name="lake", state="ok", said=said)]
    if isinstance(storage, LocalStorage):
        found.append(disk("disk of the lake", storage.root))
    return [*found, await _views(storage)]


async def _views(storage: Storage) -> Finding:
    """Whether `views.sql`, and with it tierwise.duckdb, names this lake and these views."""
    try:
        same = (await storage.read(VIEWS)).decode() == view_script(storage)
    except NoSuchObject:
        return Finding(name="views", state="ok", said="not made yet; the first job makes them")
    missing = isinstance(storage, LocalStorage) and not storage.path(DATABASE).exists()
    said = "they name this lake" if same and not missing else "they are of another place or an older version"
    return graded("views", said, not same or missing, "tierwise doctor --views")


def disk(name: str, folder: Path) -> Finding:
    here = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(here).free
    said = f"{free / 2**30:,.1f} GiB free at {here}"
    fix = "Make room: a full disk stops a job (it loses nothing, and goes on with `tierwise resume JOB`)."
    if free < NO_DISK:
        return Finding(name=name, state="failed", said=said, fix=fix, exit_code=5)
    return graded(name, said, free < LITTLE_DISK, fix)


# ledger


async def check_ledger(ledger: Ledger, url: str) -> tuple[list[Finding], Health]:
    """Raises LedgerUnreachable."""
    await ledger.probe()
    took = []
    for _ in range(COMMITS):
        began = time.perf_counter()
        await ledger.probe()
        took.append((time.perf_counter() - began) * 1000)
    health = await read_health(url)
    said = f"{ledger.url}: a durable transaction takes {median(took):.0f} ms; {health.said}"
    if not health.durable:
        fix = "Switch it on again in postgresql.conf: money is only safe in what survives a crash."
        return [Finding(name="ledger", state="failed", said=said, fix=fix, exit_code=5)], health
    slow = median(took) > SLOW_COMMIT_MS
    found = [
        graded(
            "ledger", said, slow, "Each call waits for two of these: use a faster disk, or a nearer server."
        )
    ]
    if health.file is not None:
        found.append(disk("disk of the ledger", health.file.parent))
        kind = file_system(health.file)
        if kind in NETWORK:
            said = f"{health.file} lies on {kind}, where SQLite's locks do not hold"
            fix = "Put it on a local disk (TIERWISE_LEDGER=sqlite:////local/ledger.db), or use PostgreSQL."
            found.append(graded("ledger's folder", said, True, fix))
    return found, health


def file_system(path: Path, mounts: Iterable[str] | None = None) -> str:
    """The kind of file system a path lies on; empty where that is not known. `mounts`: lines of /proc/mounts."""
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
    kinds = {Path(line.split()[1].replace("\\040", " ")): line.split()[2] for line in mounts}
    real = path.resolve()
    return next((kinds[each] for each in (real, *real.parents) if each in kinds), "")


# clock


def check_clock(ahead: dict[str, float], lease_ms: float) -> Finding:
    """`ahead`: by how many ms each shared service's clock is ahead of this one's."""
    if not ahead:
        return Finding(name="clock", state="ok", said="nothing is shared whose clock could differ")
    said = ", ".join(f"{name} {round(each / 1000, 1) + 0.0:+.1f} s" for name, each in ahead.items())
    worst = max(map(abs, ahead.values()))
    fix = "Let a time service (chrony, systemd-timesyncd) set this machine's clock."
    if worst > lease_ms / 3:
        said += ": leases would be taken for lost while they are held"
        return Finding(name="clock", state="failed", said=said, fix=fix, exit_code=5)
    return graded("clock", said, worst > SKEW_MS, fix)


# jobs


async def check_jobs(ledger: Ledger, storage: Storage, now: int, workers: int, broker: bool) -> list[Finding]:
    """Jobs that nobody works on, and what dead ones left. `workers`: processes that listen to the broker."""
    rows = [row for row in await ledger.jobs() if row.state != "closed"]
    owners = await ledger.owners(now)
    said = f"{len(owners)} processes hold leases; {len(rows)} jobs are open"
    idle = []
    for row in rows:
        try:
            await storage.read(lake.manifest(row.job))
        except NoSuchObject:
            continue  # of another lake
        if not (await ledger.activity(row.job, row.generation, now)).under_way:
            idle.append(str(row.job))
    if not idle or workers:
        return [Finding(name="workers", state="ok", said=said)]
    fix = "Start `tierwise worker`." if broker else f"tierwise resume {idle[0]}, or tierwise cancel {idle[0]}"
    return [graded("workers", f"{said}, and nobody works on {', '.join(idle)}", True, fix)]


# keys


def needs_of(spec: JobSpec) -> dict[str, list[str]]:
    """Environment variable -> the tiers whose key it holds."""
    found: dict[str, list[str]] = {}
    for tier in [*spec.tiers, *([spec.policy.encoder] if spec.policy.encoder else [])]:
        if variable := getattr(tier, "api_key_env", None):
            found.setdefault(variable, []).append(getattr(tier, "name", "encoder"))
    return found


def check_keys(spec: JobSpec, environment: dict[str, str]) -> list[Finding]:
    """Whether they are there, never what they are."""
    found = []
    for variable, tiers in needs_of(spec).items():
        name, of = f"key {variable}", f"for {', '.join(tiers)}"
        if environment.get(variable, "").strip():
            found.append(Finding(name=name, state="ok", said=f"set, {of}"))
        else:
            fix = f"export {variable}=…"
            found.append(
                Finding(name=name, state="failed", said=f"not set; needed {of}", fix=fix, exit_code=2)
            )
    return found or [Finding(name="keys", state="ok", said="its tiers need none")]
