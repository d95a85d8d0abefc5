"""Licenses: their versions and lifecycle, and what they grant."""

from kaitencloud import UNLIMITED, ConflictError, NotFoundError, UnprocessableEntityError

from clients import fails, is_gone, is_listed


async def drive(client, word):
    licenses = client.licenses
    await creates_versions(licenses, word)
    await replaces(licenses, word)
    await moves_through_the_lifecycle(licenses, word)
    await hands_the_default_on(licenses, word)
    await grants(client, word)
    await keeps_what_is_in_use(client, word)


async def creates_versions(licenses, word):
    made = await licenses.create(name=f"Growth {word}", type="PAID", slug=f"growth-{word}", description="For teams.")
    assert (made.name, made.type, made.description) == (f"Growth {word}", "PAID", "For teams."), made
    assert (made.version, made.version_name, made.lifecycle_state) == ("1", "Version - 1", "PUBLISHED"), made
    assert not made.is_default, made
    assert await licenses.get(made.slug) == made, "what is read is what was answered on creation"
    await is_listed(licenses, made)
    second = await licenses.create(name=f"Growth {word}", type="PAID", version_name="Winter")
    assert (second.version, second.version_name) == ("2", "Winter"), second
    assert second.slug != made.slug, second
    await fails(ConflictError, 409, licenses.create(name="Another", type="PAID", slug=made.slug))
    await is_gone(licenses, second)


async def replaces(licenses, word):
    slug = f"growth-{word}"
    before = await licenses.get(slug)
    await licenses.update(slug, name=before.name, type="COMMUNITY", version_name="Summer")
    after = await licenses.get(slug)
    assert (after.id, after.version, after.type) == (before.id, before.version, "COMMUNITY"), after
    assert (after.version_name, after.description) == ("Summer", ""), after
    await fails(NotFoundError, 404, licenses.update(f"no-{word}", name="Nothing", type="PAID"))
    await fails(UnprocessableEntityError, 422, licenses.update(slug, name=before.name, type="STOLEN"))


async def moves_through_the_lifecycle(licenses, word):
    slug = f"trial-{word}"
    made = await licenses.create(name=f"Trial {word}", type="TRIAL", slug=slug, lifecycle_state="DRAFT")
    assert made.lifecycle_state == "DRAFT", made
    await fails(ConflictError, 409, licenses.archive(slug), "ArchiveLicense.NotPublished")
    for move, state, repeated in [
        (licenses.publish, "PUBLISHED", "PublishLicense.NotADraft"),
        (licenses.archive, "ARCHIVED", "ArchiveLicense.NotPublished"),
        (licenses.unarchive, "PUBLISHED", "UnarchiveLicense.NotArchived"),
    ]:
        moved = await move(slug)
        assert moved.lifecycle_state == state and moved == await licenses.get(slug), moved
        await fails(ConflictError, 409, move(slug), repeated)
    await fails(NotFoundError, 404, licenses.publish(f"no-{word}"))
    await is_gone(licenses, moved)


async def hands_the_default_on(licenses, word):
    first = await licenses.create(name=f"First {word}", type="PAID", is_default=True)
    second = await licenses.create(name=f"Second {word}", type="PAID", is_default=True)
    assert second.is_default and not (await licenses.get(first.slug)).is_default, "there is one default"
    await licenses.update(first.slug, name=first.name, type="PAID", is_default=True)
    assert (await licenses.get(first.slug)).is_default and not (await licenses.get(second.slug)).is_default
    await fails(ConflictError, 409, licenses.archive(first.slug), "ArchiveLicense.DefaultMustBePublished")
    draft = licenses.create(name=f"Third {word}", type="PAID", is_default=True, lifecycle_state="DRAFT")
    await fails(ConflictError, 409, draft, "CreateLicense.DefaultMustBePublished")
    await licenses.update(first.slug, name=first.name, type="PAID")
    assert not [license.slug for license in await licenses.list() if license.is_default and word in license.slug]


async def grants(client, word):
    licenses, slug = client.licenses, f"growth-{word}"
    cases = [
        ("NUMBER", 100, 10, 10, 250, 0),
        ("NUMBER", 0.5, None, 0, UNLIMITED, -1),
        ("BOOLEAN", True, None, None, False, None),
        ("CONFIG", {"regions": ["eu", None]}, None, None, {}, None),
    ]
    granted = []
    for number, (kind, value, sent, overage, later, later_overage) in enumerate(cases):
        entitlement = f"grant-{number}-{word}"
        await client.entitlements.create(name=f"Grant {number}", slug=entitlement, type=kind)
        await licenses.associate_entitlement(slug, entitlement, value, overage_percent=sent)
        grant = await licenses.get_entitlement(slug, entitlement)
        assert (grant.license_slug, grant.entitlement_slug, grant.entitlement_type) == (slug, entitlement, kind), grant
        assert (grant.value.value, grant.limit_cap_exceeded_overage_percent) == (value, overage), grant
        await fails(ConflictError, 409, licenses.associate_entitlement(slug, entitlement, value))
        await licenses.update_entitlement(slug, entitlement, later)
        grant = await licenses.get_entitlement(slug, entitlement)
        assert (grant.value.value, grant.limit_cap_exceeded_overage_percent) == (later, later_overage), grant
        granted.append(grant)
    assert await licenses.list_entitlements(slug) == granted, "in the order in which it was granted"
    mistyped = licenses.update_entitlement(slug, f"grant-0-{word}", True)
    await fails(UnprocessableEntityError, 422, mistyped)
    unknown = licenses.associate_entitlement(slug, f"no-{word}", 1)
    await fails(NotFoundError, 404, unknown, "AssignLicenseEntitlement.EntitlementNotFound")


async def keeps_what_is_in_use(client, word):
    licenses, slug = client.licenses, f"growth-{word}"
    await fails(ConflictError, 409, licenses.delete(slug), "DeleteLicense.InUseConflict")
    entitlement = f"grant-0-{word}"
    await fails(ConflictError, 409, client.entitlements.delete(entitlement), "DeleteEntitlement.InUseConflict")
    for grant in await licenses.list_entitlements(slug):
        await licenses.delete_entitlement(slug, grant.entitlement_slug)
    assert await licenses.list_entitlements(slug) == []
    await fails(NotFoundError, 404, licenses.get_entitlement(slug, entitlement))
    await fails(NotFoundError, 404, licenses.delete_entitlement(slug, entitlement))
    await is_gone(client.entitlements, await client.entitlements.get(entitlement))
    await is_gone(licenses, await licenses.get(slug))
