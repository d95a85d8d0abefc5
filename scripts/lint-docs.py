"""Checks that the documentation speaks of what there is.

Every row of a failure table names a test, and that test exists in the file that is named; every row of the table of bounds
names a setting or constant and a test that exist, and every setting with a number or a duration has a row; every `DEMAE_…`
variable is a setting; every metric in the code is described in docs/operating.md and every metric that is described exists; relative
links lead to files and headings.
"""

import re
import subprocess
import sys
from pathlib import Path

DEFAULTS = Path("crates/demae/demae.default.toml")
FAILURES = Path("docs/reliability.md")
BOUNDS = Path("docs/security.md")
OPERATING = Path("docs/operating.md")
# Read by tests, or by commands that talk to a server; none is a setting of the server.
OTHER_VARIABLES = {"DEMAE_URL", "DEMAE_TOKEN", "DEMAE_ATTACH_URL"}
OTHER_PREFIXES = ("DEMAE_CAMPAIGN_", "DEMAE_TEST_")

faults = []


def tracked(*patterns):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    return [Path(name) for name in listed if name and Path(name).is_file()]


def texts(*patterns):
    return {path: path.read_text() for path in tracked(*patterns)}


SOURCES = texts("crates/**/*.rs")
DOCUMENTS = texts("*.md", "docs/*.md", "deploy/**", "fuzz/*.md")


def functions(suffix):
    """The names of all functions in the files whose path ends so."""
    names = set()
    for path, text in SOURCES.items():
        if f"/{path}".endswith(f"/{suffix}"):
            names |= set(re.findall(r"\bfn ([a-z0-9_]+)", text))
    return names


EVERY_FUNCTION = {name for text in SOURCES.values() for name in re.findall(r"\bfn ([a-z0-9_]+)", text)}


def check_failure_tables():
    """A cell names files (`…/x.rs`) and after each file its tests. Tests before the first file are in the section's file, or,
    if the section names no file, in any file."""
    default = None
    header = ""
    rows = 0
    for number, line in enumerate(DOCUMENTS[FAILURES].split("\n"), 1):
        where = f"{FAILURES}:{number}"
        if line.startswith("#"):
            default = None
        if not line.startswith("|"):
            # "The tests are in `x/y`. What has no file named is in `z.rs`", or just a file.
            named = re.findall(r"`([\w/.-]+\.rs)`", line)
            if named and "test" in line.lower():
                default = named[-1]
            header = ""
            continue
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not header:
            header = cells[-1]
            default = (re.findall(r"`([\w/.-]+\.rs)`", header) or [default])[-1]
            header = re.sub(r"\W.*", "", header)
            continue
        if header.lower() != "test" or re.fullmatch(r"[-: ]+", cells[-1]):
            continue
        rows += 1
        check_row(where, cells[-1], default)
    for section in ("Slot failures", "Broker failures"):
        if f"## {section}" not in DOCUMENTS[FAILURES]:
            faults.append(f"{FAILURES}: no section {section}")
    if rows < 50:
        faults.append(f"{FAILURES}: only {rows} rows found")


def check_row(where, cell, file):
    tests = 0
    for name in re.findall(r"`([^`]+)`", cell):
        if name.endswith(".rs") or "/" in name:
            file = name
            if not any(f"/{path}".endswith(f"/{name}") for path in SOURCES):
                faults.append(f"{where}: there is no file {name}")
            continue
        tests += 1
        found = functions(file) if file else EVERY_FUNCTION
        ending = name.removeprefix("…")
        if not any(other == name or (ending != name and other.endswith(ending)) for other in found):
            faults.append(f"{where}: {file} has no test {name}" if file else f"{where}: no file has a test {name}")
    if not tests:
        faults.append(f"{where}: names no test")


def check_bounds():
    """The table below the heading "Limits": bound, value, setting or constant, test."""
    settings = set(re.findall(r"^([a-z_]+) = ", DEFAULTS.read_text(), re.MULTILINE))
    bounds = set(re.findall(r'^([a-z_]+) = (?:\d+|"\d+[smhd]?")$', DEFAULTS.read_text(), re.MULTILINE))
    code = "\n".join(SOURCES.values())
    constants = set(re.findall(r"\b(?:const|static|struct) ([A-Z][A-Za-z0-9_]*)\b", code))
    constants |= set(re.findall(r"^\s+pub(?:\([a-z]+\))? ([a-z_]+): ", code, re.MULTILINE))
    tests = set(re.findall(r"\bfn ([a-z0-9_]+)", code))
    section = DOCUMENTS[BOUNDS].partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.split("\n") if line.startswith("|")]
    for cells in rows[2:]:
        if len(cells) != 4:
            faults.append(f"{BOUNDS}: the bound {cells[0]} has {len(cells)} cells, not 4")
            continue
        where = f"{BOUNDS}: the bound {cells[0]}"
        named = {name.rpartition("::")[2] for name in re.findall(r"`([A-Za-z0-9_:]+)`", cells[2])}
        if not named and cells[2] != "by construction" and "`demae " not in cells[2]:
            faults.append(f"{where} names no setting or constant, and is not so by construction")
        for name in sorted(named - settings - constants):
            faults.append(f"{where}: there is no setting or constant {name}")
        bounds -= named
        reached = [name for name in re.findall(r"`([^`]+)`", cells[3]) if not name.endswith(".rs")]
        if not reached:
            faults.append(f"{where} names no test")
        for name in reached:
            if name not in tests:
                faults.append(f"{where}: there is no test {name}")
    # What is admitted to be without a test stands in a sentence of its own.
    admitted = re.search(r"^No test reaches[^\n]*(?:\n[^\n]+)*", section, re.MULTILINE)
    bounds -= set(re.findall(r"`([a-z_]+)`", admitted[0])) if admitted else set()
    for name in sorted(bounds):
        faults.append(f"{BOUNDS}: the setting {name} has no row in the table of bounds")
    if len(rows) < 30:
        faults.append(f"{BOUNDS}: only {len(rows)} rows of bounds found")


def check_variables():
    known = {f"DEMAE_{name.upper()}" for name in re.findall(r"^([a-z_]+) = ", DEFAULTS.read_text(), re.MULTILINE)}
    for path, text in DOCUMENTS.items():
        for name in sorted(set(re.findall(r"\bDEMAE_[A-Z0-9_]*[A-Z0-9]\b", text)) - known - OTHER_VARIABLES):
            if not name.startswith(OTHER_PREFIXES):
                faults.append(f"{path}: there is no setting {name}")


def check_metrics():
    """A name of a metric is a text constant of its own in the code."""
    crates = {path.name.replace("-", "_") for path in Path("crates").iterdir()}
    in_code = set()
    for path, text in SOURCES.items():
        if "/src/" in str(path) and path.parts[1] not in ("demae-bench", "demae-testkit"):
            in_code |= set(re.findall(r'(?::|=|\() ?&?(?:str = )?"(demae_[a-z_]+)"', text))
    in_code -= crates | {"demae_emit", "demae_outbox"}
    described = set(re.findall(r"^\| `(demae_[a-z_]+)` \|", DOCUMENTS[OPERATING], re.MULTILINE))
    for name in sorted(in_code - described):
        faults.append(f"{OPERATING}: the metric {name} is not described")
    for name in sorted(described - in_code):
        faults.append(f"{OPERATING}: there is no metric {name}")
    # Elsewhere only what is described may be spoken of.
    for path, text in DOCUMENTS.items():
        for name in sorted(set(re.findall(r"`(demae_[a-z_]+_(?:total|bytes|seconds|active))`", text)) - described):
            faults.append(f"{path}: there is no metric {name}")


def anchor(heading):
    plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", plain))


def check_links():
    for path, text in DOCUMENTS.items():
        if path.suffix != ".md":
            continue
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, heading = target.partition("#")
            file = (path.parent / name) if name else path
            if not file.exists():
                faults.append(f"{path}: nothing is at {target}")
            elif heading and file.suffix == ".md":
                anchors = {anchor(line) for line in re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)}
                if heading not in anchors:
                    faults.append(f"{path}: {file} has no heading #{heading}")


check_failure_tables()
check_bounds()
check_variables()
check_metrics()
check_links()
for fault in faults:
    print(f"lint: {fault}")
sys.exit(bool(faults))
