"""What the official client has and Demae has not: each such call is a plain 404, and stands in the documentation."""

import inspect
import re
from pathlib import Path

from kaitencloud import (
    AsyncKaitenPlatformClient,
    KaitenPlatformClient,
    NotFoundError,
    UnprocessableEntityError,
)

from clients import fails, methods

TABLE = Path(__file__).parents[4] / "docs/kaiten-compatibility.md"
HEADING = "## What the official client cannot do here"

NOBODY = "00000000-0000-4000-8000-000000000000"
SCHEMA = {"type": "string"}
FIELD = {"resource_type": "INSTANCE", "key": "region", "label": "Region", "json_schema": SCHEMA}

METHODS = {
    "connectors.activate": lambda c: c.connectors.activate("attio"),
    "connectors.deactivate": lambda c: c.connectors.deactivate("attio"),
    "connectors.delete_settings": lambda c: c.connectors.delete_settings("attio"),
    "connectors.get": lambda c: c.connectors.get("attio"),
    "connectors.get_settings": lambda c: c.connectors.get_settings("attio"),
    "connectors.get_settings_schema": lambda c: c.connectors.get_settings_schema("attio"),
    "connectors.get_state": lambda c: c.connectors.get_state("attio"),
    "connectors.list": lambda c: c.connectors.list(),
    "connectors.update_settings": lambda c: c.connectors.update_settings("attio", {}),
    "entitlement_groups.add_entitlement": lambda c: c.entitlement_groups.add_entitlement("ai", "seats"),
    "entitlement_groups.create": lambda c: c.entitlement_groups.create(name="AI"),
    "entitlement_groups.delete": lambda c: c.entitlement_groups.delete("ai"),
    "entitlement_groups.get": lambda c: c.entitlement_groups.get("ai"),
    "entitlement_groups.get_usage": lambda c: c.entitlement_groups.get_usage("ai", "prod"),
    "entitlement_groups.list": lambda c: c.entitlement_groups.list(),
    "entitlement_groups.remove_entitlement": lambda c: c.entitlement_groups.remove_entitlement("ai", "seats"),
    "entitlement_groups.update": lambda c: c.entitlement_groups.update("ai", name="AI"),
    "integrations.get_customer": lambda c: c.integrations.get_customer("attio", "1"),
    "integrations.get_instance": lambda c: c.integrations.get_instance("attio", "1"),
    "integrations.upsert_customer": lambda c: c.integrations.upsert_customer("attio", "1", name="Acme"),
    "integrations.upsert_instance": lambda c: c.integrations.upsert_instance("attio", "1", name="Prod"),
    "license_families.get": lambda c: c.license_families.get("growth"),
    "license_families.list": lambda c: c.license_families.list(),
    "metadata_fields.archive": lambda c: c.metadata_fields.archive("1"),
    "metadata_fields.create": lambda c: c.metadata_fields.create(**FIELD),
    "metadata_fields.dry_run": lambda c: c.metadata_fields.dry_run("1", SCHEMA),
    "metadata_fields.list": lambda c: c.metadata_fields.list("INSTANCE"),
    "metadata_fields.reorder": lambda c: c.metadata_fields.reorder(["1"]),
    "metadata_fields.unarchive": lambda c: c.metadata_fields.unarchive("1"),
    "metadata_fields.update": lambda c: c.metadata_fields.update("1", **FIELD),
}

PLATFORM = {
    "me": lambda p: p.me(),
    "connectors.register": lambda p: p.connectors.register(name="attio", version="1"),
    "organizations.delete": lambda p: p.organizations.delete(NOBODY),
    "organizations.delete_membership": lambda p: p.organizations.delete_membership(NOBODY, NOBODY),
    "organizations.ensure": lambda p: p.organizations.ensure(external_id="org_1"),
    "organizations.get": lambda p: p.organizations.get(NOBODY),
    "tokens.list": lambda p: p.tokens.list(NOBODY),
    "tokens.mint": lambda p: p.tokens.mint(NOBODY, name="sync"),
    "tokens.revoke": lambda p: p.tokens.revoke(NOBODY, "sync"),
    "users.delete": lambda p: p.users.delete(NOBODY),
}


async def drive(client, word):
    for call in METHODS.values():
        await fails(NotFoundError, 404, call(client), "Request.UnknownPath")
    await refuses_parameters_of_what_is_absent(client, word)
    stands_in_the_table()


async def refuses_parameters_of_what_is_absent(client, word):
    for family in ({"family_slug": "growth"}, {"family_id": NOBODY}):
        license = client.licenses.create(name=f"Next {word}", type="PAID", **family)
        await fails(NotFoundError, 404, license, "CreateLicense.FamilyNotFound")
    for definition in ({"group_slugs": ["ai"]}, {"type": "NUMBER_AI_CREDIT"}):
        await fails(UnprocessableEntityError, 422, client.entitlements.create(name=f"Credit {word}", **definition))
    assert (await client.entitlements.create(name=f"Grouped {word}", group_slugs=[])).entitlement_groups in (None, [])


async def from_another_listener(kind, base_url):
    """The platform client is for an API of its own, with credentials of its own, of which Demae has neither."""
    sdk = {"sync": KaitenPlatformClient, "async": AsyncKaitenPlatformClient}[kind]
    platform = sdk(base_url=base_url, token="ksm_" + "0" * 40, max_retries=0)
    offered = set(methods(platform)) - {"with_options", "close"}
    for name, resource in vars(platform).items():
        if not name.startswith("_"):
            offered.update(f"{name}.{method}" for method in methods(resource))
    assert offered == set(PLATFORM), offered ^ set(PLATFORM)
    for call in PLATFORM.values():
        await fails(NotFoundError, 404, awaited(call, platform), "Request.UnknownPath")
    await awaited(sdk.close, platform)


async def awaited(call, *arguments):
    answer = call(*arguments)
    return await answer if inspect.isawaitable(answer) else answer


def stands_in_the_table():
    """Rows are `| resource | methods | …`, each name in backticks."""
    _, _, section = TABLE.read_text().partition(f"{HEADING}\n")
    told = set()
    for row in section.partition("\n## ")[0].splitlines():
        cells = row.split("|")
        if len(cells) > 3 and (resource := re.fullmatch(r" `(\w+)` ", cells[1])):
            told.update(f"{resource[1]}.{method}" for method in re.findall(r"`(\w+)`", cells[2]))
    assert told == set(METHODS), f"{TABLE.name} and this program differ in {sorted(told ^ set(METHODS))}"
