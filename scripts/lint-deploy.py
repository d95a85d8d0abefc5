"""Checks what no general linter can know about deploy/.

That every setting named there exists, that a stop is given longer than Demae takes for it, that probes ask paths that
are served, that roles exist, and that what refers to something by its name or labels finds it.
"""

import re
import sys
from pathlib import Path

import yaml

DEPLOY = Path("deploy")
DEFAULTS = Path("crates/demae/demae.default.toml")
KUBERNETES = DEPLOY / "kubernetes"
ROLES = {"api", "relay", "worker"}
PROBES = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}

faults = []


def expect(holds, fault):
    if not holds:
        faults.append(fault)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)([smhd]?)", str(text)).groups()
    return int(number) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


def check_settings():
    """A misspelt setting is ignored by nobody but this lint: the program refuses to start with it."""
    known = {
        f"DEMAE_{name.upper()}"
        for name in re.findall(r"^([a-z_]+) = ", DEFAULTS.read_text(), re.MULTILINE)
    }
    expect(len(known) > 20, f"{DEFAULTS}: no settings found")
    for path in sorted(path for path in DEPLOY.rglob("*") if path.is_file()):
        for name in sorted(set(re.findall(r"DEMAE_[A-Z0-9_]+", path.read_text())) - known):
            faults.append(f"{path}: there is no setting {name}")


def check_roles(where, words):
    expect("--roles" in words, f"{where}: no --roles")
    named = words[words.index("--roles") + 1].split(",") if "--roles" in words else []
    expect(set(named) <= ROLES, f"{where}: unknown roles {named}")


def check_compose():
    path = DEPLOY / "compose.yaml"
    services = yaml.safe_load(path.read_text())["services"]
    for name in sorted(ROLES):
        service = services[name]
        where = f"{path}: {name}"
        check_roles(where, service["command"])
        deadline = seconds(service["environment"]["DEMAE_SHUTDOWN_DEADLINE"])
        expect(seconds(service["stop_grace_period"]) > deadline, f"{where}: stop_grace_period is too short")
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            expect("healthcheck" in services[needed] or how["condition"] != "service_healthy",
                   f"{path}: {name} waits for the health of {needed}, which has no healthcheck")
    variables = set(re.findall(r"\$\{([A-Z_]+)", path.read_text()))
    example = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))
    expect(variables <= example, f"{DEPLOY}/env.example lacks {sorted(variables - example)}")


def manifests():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    listed = set(kustomization["resources"])
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml", "secret.yaml"}
    expect(listed | {"secret.example.yaml"} == there, f"{KUBERNETES}: resources {sorted(listed)}, files {sorted(there)}")
    for name in sorted(there):
        for document in yaml.safe_load_all((KUBERNETES / name).read_text()):
            yield f"{KUBERNETES / name}: {document['kind']} {document['metadata']['name']}", document


def check_deployment(where, deployment, settings, names):
    template = deployment["spec"]["template"]
    pod = template["spec"]
    labels = template["metadata"]["labels"]
    expect(deployment["spec"]["selector"]["matchLabels"] == labels, f"{where}: the selector is not the pods' labels")
    expect(pod["serviceAccountName"] in names["ServiceAccount"], f"{where}: no such ServiceAccount")
    for container in pod["containers"]:
        check_roles(where, container["args"])
        for source in container["envFrom"]:
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                expect(key not in source or source[key]["name"] in names[kind], f"{where}: no such {kind}: {source}")
        for probe, path in PROBES.items():
            expect(container[probe]["httpGet"]["path"] == path, f"{where}: {probe} does not ask {path}")
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = pause + seconds(settings["DEMAE_SHUTDOWN_DEADLINE"])
        expect(pod["terminationGracePeriodSeconds"] > needed, f"{where}: terminationGracePeriodSeconds <= {needed}")


def check_kubernetes():
    documents = list(manifests())
    names, deployments, settings = {}, [], {}
    for where, document in documents:
        names.setdefault(document["kind"], set()).add(document["metadata"]["name"])
        if document["kind"] == "Deployment":
            deployments.append((where, document))
        if document["kind"] == "ConfigMap":
            settings |= document["data"]
    selectable = [deployment["spec"]["template"]["metadata"]["labels"] for _, deployment in deployments]
    for where, document in documents:
        if document["kind"] in ("Service", "PodDisruptionBudget"):
            selector = document["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            expect(selector in selectable, f"{where}: selects nothing")
    for where, deployment in deployments:
        check_deployment(where, deployment, settings, names)
    roles = {deployment["metadata"]["name"].removeprefix("demae-") for _, deployment in deployments}
    expect(roles == ROLES, f"{KUBERNETES}: deployments of {sorted(roles)}")


check_settings()
check_compose()
check_kubernetes()
for fault in faults:
    print(f"lint: {fault}")
sys.exit(bool(faults))
