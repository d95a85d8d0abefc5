"""Instances: their life, their moves between zones, and their audit trail."""

from datetime import datetime, timedelta, timezone

from kaitencloud import ConflictError, NotFoundError, UnprocessableEntityError

from clients import fails, is_gone, is_listed

NOBODY = "00000000-0000-4000-8000-000000000000"


async def drive(client, word):
    slug = f"prod-{word}"
    definition = await surroundings(client, word)
    made = await creates(client, definition, slug)
    await replaces_and_renames(client, definition, made)
    await changes_status_and_stage(client.instances, slug)
    await refuses(client, definition, slug)
    await tells_its_history(client.instances, made)
    await keeps_its_customer(client, made)
    await is_gone(client.instances, await client.instances.get(slug))
    await fails(NotFoundError, 404, client.instances.list_audit_trails(slug))


async def surroundings(client, word):
    customer = await client.customers.create(name=f"Owner {word}")
    license = await client.licenses.create(name=f"Standard {word}", type="PAID")
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return {
        "customer_id": customer.id,
        "license_id": license.id,
        "start_license_date": start,
        "end_license_date": start + timedelta(days=365),
    }


async def creates(client, definition, slug):
    made = await client.instances.create(
        name="Production", slug=slug, description="The real one.", metadata={"tier": 1, "hosts": ["a"]}, **definition
    )
    assert (made.name, made.slug, made.description) == ("Production", slug, "The real one."), made
    kept = {name: getattr(made, name) for name in definition}
    assert kept == definition, kept
    assert made.customer_slug == (await customer_of(client, made)).slug, made
    assert made.license_slug in [license.slug for license in await client.licenses.list()], made
    assert (made.metadata, made.status) == ({"tier": 1, "hosts": ["a"]}, "HEALTHY"), made
    assert (made.deployment_zone_id, made.lifecycle_stage) == (None, None), made
    assert await client.instances.get(slug) == made, "what is read is what was answered on creation"
    await is_listed(client.instances, made)
    return made


async def customer_of(client, instance):
    (customer,) = [customer for customer in await client.customers.list() if customer.id == instance.customer_id]
    return customer


async def replaces_and_renames(client, definition, made):
    instances, other = client.instances, f"moved-{made.slug}"
    zones = [await client.deployment_zones.create(name=f"Zone of {made.slug}", type="staging") for _ in range(2)]
    for zone in zones:
        await instances.update(made.slug, name="Production", deployment_zone_id=zone.id, **definition)
        moved = await instances.get(made.slug)
        assert (moved.deployment_zone_id, moved.deployment_zone_slug) == (zone.id, zone.slug), moved
    await instances.update(made.slug, name="Renamed", slug=other, **definition)
    await fails(NotFoundError, 404, instances.get(made.slug))
    after = await instances.get(other)
    assert (after.id, after.name, after.slug) == (made.id, "Renamed", other), after
    assert (after.description, after.metadata) == ("", {}), "a replacement clears what is left out"
    assert after.deployment_zone_id == zones[1].id, "but for the zone"
    assert after.updated_at > made.updated_at and after.created_at == made.created_at, after
    await instances.update(other, name="Production", slug=made.slug, **definition)
    await client.deployment_zones.delete(zones[1].slug)
    assert (await instances.get(made.slug)).deployment_zone_id is None, "the zone is gone"


async def changes_status_and_stage(instances, slug):
    for status in ("DEGRADED", "INCIDENT", "MAINTENANCE", "HEALTHY"):
        await instances.update_status(slug, status)
        assert (await instances.get(slug)).status == status
    await instances.update_lifecycle_stage(slug, "AT_RISK")
    patched = await instances.get(slug)
    assert (patched.name, patched.status, patched.lifecycle_stage) == ("Production", "HEALTHY", "AT_RISK"), patched
    await fails(UnprocessableEntityError, 422, instances.update_status(slug, "TIRED"))
    await fails(NotFoundError, 404, instances.update_status(f"no-{slug}", "HEALTHY"))
    await fails(NotFoundError, 404, instances.update_lifecycle_stage(f"no-{slug}", "TRIAL"))


async def refuses(client, definition, slug):
    instances = client.instances
    taken = instances.create(name="Another", slug=slug, **definition)
    await fails(ConflictError, 409, taken, "CreateInstance.SlugConflict")
    for name, code in [
        ("customer_id", "CreateInstance.CustomerNotFound"),
        ("license_id", "CreateInstance.LicenseNotFound"),
        ("deployment_zone_id", "CreateInstance.DeploymentZoneNotFound"),
    ]:
        await fails(NotFoundError, 404, instances.create(name="Lost", **{**definition, name: NOBODY}), code)
    start = definition["start_license_date"]
    backwards = {**definition, "end_license_date": start - timedelta(days=1)}
    error = await fails(UnprocessableEntityError, 422, instances.create(name="Backwards", **backwards))
    assert [detail.location for detail in error.errors] == ["body.endLicenseDate"], error.errors
    await fails(NotFoundError, 404, instances.update(f"no-{slug}", name="Nothing", **definition))


async def tells_its_history(instances, made):
    trail = await instances.list_audit_trails(made.slug)
    assert {entry.instance_id for entry in trail} == {made.id}, "entries of others"
    names = [entry.event_name for entry in reversed(trail)]
    assert names == [
        "INSTANCE_CREATION",
        *["INSTANCE_UPDATE", "INSTANCE_DEPLOYMENT", "INSTANCE_UPDATE", "INSTANCE_MIGRATION"],
        *["INSTANCE_UPDATE", "INSTANCE_UPDATE"],
        *["INSTANCE_STATUS_CHANGED"] * 4,
        "INSTANCE_LIFECYCLE_STAGE_CHANGED",
    ], names
    assert trail[-1].payload["slug"] == made.slug and trail[-1].event_type == "com.kaiten.instance.v1.created", trail[-1]
    assert trail[-1].timestamp == made.created_at, trail[-1]
    assert await instances.list_audit_trails(made.slug, limit=3) == trail[:3]
    changed = await instances.list_audit_trails(made.slug, event_name="INSTANCE_STATUS_CHANGED")
    assert changed == trail[1:5], changed
    # Either form of an event's name.
    assert await instances.list_audit_trails(made.slug, event_name="INSTANCE_CREATED") == trail[-1:]
    middle = trail[6].timestamp
    assert await instances.list_audit_trails(made.slug, after=middle) == [e for e in trail if e.timestamp >= middle]
    assert await instances.list_audit_trails(made.slug, before=middle) == [e for e in trail if e.timestamp <= middle]


async def keeps_its_customer(client, made):
    customer = await customer_of(client, made)
    await fails(ConflictError, 409, client.customers.delete(customer.slug), "DeleteCustomer.InUseConflict")
    await fails(ConflictError, 409, client.licenses.delete(made.license_slug), "DeleteLicense.InUseConflict")
