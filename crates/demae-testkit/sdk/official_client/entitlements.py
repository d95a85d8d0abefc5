"""Entitlements: the catalogue of what a license can grant."""

from kaitencloud import ConflictError, NotFoundError, UnprocessableEntityError

from clients import fails, is_gone, is_listed

METERED = {
    "type": "NUMBER",
    "aggregation_method": "SUM",
    "reset_period": "MONTH",
    "reset_anchor": "LICENSE_START",
    "warning_threshold_percent": 80,
    "user_facing": True,
    "display_order": 3,
    "icon": "lucide:users",
    "unit_singular": "token",
    "unit_plural": "tokens",
    "sale_unit_singular": "pack",
    "sale_unit_plural": "packs",
    "sale_unit_factor": 1_000,
}


async def drive(client, word):
    entitlements = client.entitlements
    metered = await keeps_every_field(entitlements, word)
    await replaces(entitlements, metered)
    await keeps_what_cannot_change(entitlements, metered)
    await has_every_kind(entitlements, word)
    await is_gone(entitlements, metered)
    await refuses(entitlements, word)


async def keeps_every_field(entitlements, word):
    slug = f"tokens-{word}"
    made = await entitlements.create(name="Tokens", slug=slug, description="Of the model.", **METERED)
    assert (made.name, made.slug, made.description) == ("Tokens", slug, "Of the model."), made
    kept = {name: getattr(made, name) for name in METERED}
    assert kept == METERED, kept
    assert not made.entitlement_groups and not made.group_slugs, made
    assert await entitlements.get(slug) == made, "what is read is what was answered on creation"
    await is_listed(entitlements, made)
    return made


async def replaces(entitlements, before):
    fixed = {name: METERED[name] for name in ("type", "aggregation_method", "reset_period", "reset_anchor")}
    await entitlements.update(before.slug, name="Model tokens", **fixed)
    after = await entitlements.get(before.slug)
    assert (after.id, after.name, after.description) == (before.id, "Model tokens", None), after
    assert {name: getattr(after, name) for name in fixed} == fixed, after
    reset = (after.user_facing, after.warning_threshold_percent, after.icon, after.unit_singular)
    assert reset == (False, 0, None, None), "a replacement resets what is left out"
    assert after.created_at == before.created_at and after.updated_at > before.updated_at, after


async def keeps_what_cannot_change(entitlements, made):
    for name, value in {"type": "BOOLEAN", "aggregation_method": "MAX", "reset_period": "DAY"}.items():
        other = {"type": "NUMBER", "aggregation_method": "SUM", name: value}
        await fails(UnprocessableEntityError, 422, entitlements.update(made.slug, name="Tokens", **other))
    assert (await entitlements.get(made.slug)).type == "NUMBER"


async def has_every_kind(entitlements, word):
    for kind in ("BOOLEAN", "CONFIG", "NUMBER"):
        made = await entitlements.create(name=f"{kind} {word}", type=kind)
        assert made.type == kind and made.description is None, made
        assert made.slug.startswith(f"{kind.lower()}-{word}"), made
        assert await entitlements.get(made.slug) == made
    untyped = await entitlements.create(name=f"Anything {word}")
    assert untyped.type is None, untyped


async def refuses(entitlements, word):
    taken = entitlements.create(name="Another", slug=f"boolean-{word}")
    await fails(ConflictError, 409, taken, "CreateEntitlement.SlugConflict")
    lonely = entitlements.create(name="Seats", type="NUMBER", unit_singular="seat")
    await fails(UnprocessableEntityError, 422, lonely)
    await fails(NotFoundError, 404, entitlements.update(f"no-{word}", name="Nothing"), "UpdateEntitlement.NotFound")
