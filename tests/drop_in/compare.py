"""Run the tests of other projects with torch's recurrent modules and with ohlol's, and print where the results differ.

`python compare.py [SUITE ...]` fetches each suite of `suites.toml`, installs what its tests need in an environment of
its own, which sees the packages of the environment that runs this script, and runs it twice with the plugin `drop_in`,
at the same time.
The exit status is 1 if a result differs that `suites.toml` does not expect, an expected difference is gone, or a suite
was not run, which one line says with its reason.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).parent
ABSENT = "absent"
"""The outcome of a test that only the other run has."""
COLUMNS = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


class UnavailableError(Exception):
    """A suite that cannot be run here, and why."""


@dataclass(frozen=True)
class Expected:
    """A known difference: the results of the tests whose names match, and the reason."""

    tests: str
    torch: str
    ohlol: str
    reason: str


@dataclass(frozen=True)
class Suite:
    """Some tests of a project; the fields are described in `suites.toml`."""

    name: str
    origin: str
    tests: list[str]
    package: str = ""
    release: str = ""
    directory: str = "."
    install: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    kernels: bool = True
    expected: list[Expected] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """What the plugin `drop_in` wrote: the outcome of each test, the message of each failure and the paths of calls."""

    outcomes: dict[str, str]
    messages: dict[str, str]
    calls: dict[str, int]


@dataclass(frozen=True)
class Comparison:
    """The tests with another result, by whether that is expected; and the expected differences that did not occur."""

    expected: dict[str, Expected]
    unexpected: dict[str, tuple[str, str]]
    gone: list[Expected]


def read_suites(path: Path) -> dict[str, Suite]:
    """Read the suites of a TOML file."""
    suites: dict[str, Suite] = {}
    for name, table in tomllib.loads(path.read_text(encoding="utf-8"))["suites"].items():
        expected = [Expected(**difference) for difference in table.pop("expected", [])]
        suites[name] = Suite(name, table.pop("from"), expected=expected, **table)
    return suites


def compare(torch: Run, ohlol: Run, expected: list[Expected]) -> Comparison:
    """Compare the outcomes of two runs test by test."""
    found: dict[str, Expected] = {}
    unexpected: dict[str, tuple[str, str]] = {}
    for test in torch.outcomes | ohlol.outcomes:
        outcomes = torch.outcomes.get(test, ABSENT), ohlol.outcomes.get(test, ABSENT)
        if outcomes[0] == outcomes[1]:
            continue
        for difference in expected:
            if fnmatchcase(test, difference.tests) and outcomes == (difference.torch, difference.ohlol):
                found[test] = difference
                break
        else:
            unexpected[test] = outcomes
    return Comparison(found, unexpected, [e for e in expected if e not in found.values()])


def fetch(suite: Suite, cache: Path, checkouts: Path | None) -> Path:
    """Return the directory of the suite's sources, which are fetched if they are not in the cache."""
    if suite.origin == "checkout":
        if checkouts is None or not (checkouts / suite.package).is_dir():
            raise UnavailableError(f"needs a checkout of {suite.package} below --checkouts")
        return checkouts / suite.package
    if suite.origin == "wheel":
        return cache
    target = cache / "sources" / (suite.package if suite.origin == "debian" else suite.install[0])
    if not target.is_dir():
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        archive = _fetch_debian(suite, partial) if suite.origin == "debian" else _fetch_sdist(suite, partial)
        with tarfile.open(archive) as file:
            file.extractall(partial, filter="data")
        archive.unlink()
        partial.rename(target)
    (directory,) = (path for path in target.iterdir() if path.is_dir())
    return directory


def _fetch_debian(suite: Suite, target: Path) -> Path:
    """Download the original sources of a Debian package, with lists of apt below `target`."""
    if shutil.which("apt-get") is None:
        raise UnavailableError("needs apt-get")
    indices = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    try:
        sites = _run(indices).split()
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"apt-get: {_last_line(error.stdout)}") from None
    site = next((site for site in sites if site.rstrip("/").endswith("/debian")), None)
    if site is None:
        raise UnavailableError("apt-get has no mirror of Debian")
    apt = target / "apt"
    for name in ("state/lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed_by = f"[signed-by={keyring}] " if keyring.exists() else ""
    (apt / "sources.list").write_text(f"deb-src {signed_by}{site} {suite.release} main\n", encoding="utf-8")
    (apt / "apt.conf").write_text(
        f'Dir::State "{apt}/state"; Dir::Cache "{apt}/cache"; Dir::Etc::SourceList "{apt}/sources.list";\n'
        'Dir::Etc::SourceParts "/dev/null"; APT::Sandbox::User "";\n',
        encoding="utf-8",
    )
    environment = {"APT_CONFIG": str(apt / "apt.conf")}
    try:
        _run(["apt-get", "-q", "update"], environment=environment)
        _run(["apt-get", "-q", "source", "--download-only", suite.package], target, environment)
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"apt-get: {_last_line(error.stdout)}") from None
    shutil.rmtree(apt)
    return next(target.glob("*.orig.tar.*"))


def _fetch_sdist(suite: Suite, target: Path) -> Path:
    """Download the source distribution of the first package that the suite installs."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(target)]
    try:
        _run([*command, suite.install[0]])
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"pip: {_last_line(error.stdout)}") from None
    return next(target.glob("*.tar.gz"))


def install(suite: Suite, cache: Path) -> Path:
    """Make the environment of a suite, if there is none yet, and return its Python."""
    environment = cache / "environments" / suite.name
    python = environment / "bin" / "python"
    ready = environment / "installed"
    wanted = "\n".join(suite.install)
    if ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(environment, clear=True)
    site_packages = Path(_run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    # The packages of this environment come after the suite's own; addsitedir also reads its .pth files.
    base = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (site_packages / "base.pth").write_text(base, encoding="utf-8")
    if suite.install:
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", *suite.install]
        try:
            _run(command)
        except subprocess.CalledProcessError as error:
            raise UnavailableError(f"pip: {_last_line(error.stdout)}") from None
    ready.write_text(wanted, encoding="utf-8")
    return python


def run(suite: Suite, python: Path, directory: Path, layers: str, logs: Path, time_limit: float) -> Run:
    """Run a suite with the layers of `torch` or `ohlol`; the output of pytest goes to a file in `logs`."""
    outcomes, log = logs / f"{suite.name}-{layers}.json", logs / f"{suite.name}-{layers}.log"
    outcomes.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-p", "drop_in", f"--layers={layers}", f"--outcomes={outcomes}"]
    command += ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", *suite.options]
    command += ["--pyargs"] if suite.origin == "wheel" else []
    environment = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    with log.open("w", encoding="utf-8") as file:
        try:
            subprocess.run(
                [*command, *suite.tests],
                cwd=directory,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=time_limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"took longer than {time_limit:.0f} s with {layers}; see {log}") from None
    if not outcomes.exists():
        raise UnavailableError(f"pytest did not end in order with {layers}; see {log}")
    return Run(**json.loads(outcomes.read_text(encoding="utf-8")))


def run_both(suite: Suite, python: Path, directory: Path, logs: Path, time_limit: float) -> tuple[Run, Run]:
    """Run a suite with the layers of torch and with those of ohlol, at the same time."""
    with ThreadPoolExecutor() as pool:
        torch, ohlol = (pool.submit(run, suite, python, directory, one, logs, time_limit) for one in ("torch", "ohlol"))
        return torch.result(), ohlol.result()


def format_row(name: str, torch: Run, ohlol: Run, comparison: Comparison) -> str:
    """One row of the table, in Markdown."""
    counts = [_format_counts(Counter(r.outcomes.values())) for r in (torch, ohlol)]
    differences = len(comparison.expected) + len(comparison.unexpected)
    return f"| {name} | {counts[0]} | {counts[1]} | {ohlol.calls.get('kernels', 0)} | {differences} |"


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in COLUMNS if counts.get(name)) or "none"


def find_problems(suite: Suite, torch: Run, ohlol: Run, comparison: Comparison) -> list[str]:
    """What fails the comparison: a line for each."""
    problems = [
        f"{test}: {before} with torch's classes, {after} with ohlol's"
        + (f": {message}" if (message := ohlol.messages.get(test) or torch.messages.get(test)) else "")
        for test, (before, after) in comparison.unexpected.items()
    ]
    problems += [f"no difference in {e.tests}: {e.reason}" for e in comparison.gone]
    if not torch.outcomes:
        problems.append("no test ran")
    elif "passed" not in torch.outcomes.values():
        problems.append("no test passed with torch's classes")
    if suite.kernels and not ohlol.calls.get("kernels"):
        problems.append("no call ran in the kernels")
    return problems


def _run(command: list[str], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    full = {**os.environ, **(environment or {})}
    return subprocess.run(
        command, cwd=cwd, env=full, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "failed without a message"


def main(arguments: list[str] | None = None, path: Path = HERE / "suites.toml") -> int:
    """Run the suites that are named, or all of a file, and return the exit status."""
    suites = read_suites(path)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="; ".join(suites))
    parser.add_argument("--cache", type=Path, default=Path("build/drop-in"), help="sources, environments and logs")
    parser.add_argument("--checkouts", type=Path, help="directory with checkouts of projects that are on no index")
    parser.add_argument("--time-limit", type=float, default=3600, help="seconds for one run of a suite")
    options = parser.parse_args(arguments)
    if unknown := set(options.suites) - set(suites):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(suites)}")
    cache: Path = options.cache.resolve()
    logs = cache / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    rows: list[str] = []
    notes: list[str] = []
    failed = False
    for name in options.suites or suites:
        suite = suites[name]
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            directory = fetch(suite, cache, options.checkouts) / suite.directory
            python = install(suite, cache)
            torch, ohlol = run_both(suite, python, directory, logs, options.time_limit)
        except UnavailableError as error:
            notes.append(f"{name}: not run: {error}")
            failed = True
            continue
        comparison = compare(torch, ohlol, suite.expected)
        rows.append(format_row(name, torch, ohlol, comparison))
        counts = Counter(e.reason for e in comparison.expected.values())
        notes += [f"{name}: {count} expected: {reason}" for reason, count in counts.items()]
        problems = find_problems(suite, torch, ohlol, comparison)
        notes += [f"{name}: {problem}" for problem in problems]
        failed |= bool(problems)
    print("| suite | with torch's classes | with ohlol's | calls in the kernels | differences |\n|---|---|---|---|---|")
    print("\n".join([*rows, "", *notes]))
    print(f"{len(rows)} of {len(options.suites or suites)} suites were run")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
