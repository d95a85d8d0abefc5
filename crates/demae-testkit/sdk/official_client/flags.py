"""Definitions of feature flags, with every builder of `kaitencloud.targeting`. `openfeature_flags.py` evaluates them."""

from datetime import datetime, timedelta, timezone

from kaitencloud import ConflictError, NotFoundError, UnprocessableEntityError, targeting

from clients import fails, is_gone, is_listed

VARIANTS = [targeting.variant("on", True, description="Everything."), targeting.variant("off", False)]


async def drive(client, word):
    flags = client.feature_flags
    slug = f"checkout-{word}"
    await keeps_every_form(flags, slug)
    await is_in_the_manifest(flags, slug)
    await replaces(flags, slug)
    await refuses(flags, slug)
    await is_gone(flags, await flags.get(slug))
    assert slug not in [flag.key for flag in await flags.manifest()]


async def keeps_every_form(flags, slug):
    now = datetime.now(timezone.utc).replace(microsecond=0)
    start, end = targeting.step("off", 100, now), targeting.step("on", 100, now + timedelta(days=7))
    rules = [
        targeting.rule("Enterprise", "plan == 'enterprise'", "on"),
        targeting.split_rule("Beta", "beta", {"on": 30, "off": 70}),
        targeting.schedule_rule("Everyone", "true", start=start, end=end),
    ]
    defaults = [targeting.split({"on": 1, "off": 99}), targeting.schedule(start=start, end=end), targeting.fixed("off")]
    for number, default in enumerate(defaults):
        made = await flags.create(
            name="Checkout",
            slug=slug if number == 2 else f"{slug}-{number}",
            type="boolean",
            variants=VARIANTS,
            default_variant=default,
            targetings=rules,
            description="The new one.",
            metadata={"team": "web"},
            event_name="CHECKED_OUT",
        )
        written = made.to_dict()
        assert written["variants"] == VARIANTS, written
        # A moment can be written in more than one way, so that what was sent is read by the client's own models.
        assert made.default_variant == type(made.default_variant).model_validate(default), made
        for read, rule in zip(made.targetings, rules, strict=True):
            assert read == type(read).model_validate(rule), read
        assert (made.type, made.enabled, made.metadata) == ("boolean", True, {"team": "web"}), made
        assert (made.description, made.event_name) == ("The new one.", "CHECKED_OUT"), made
        assert await flags.get(made.slug) == made, "what is read is what was answered on creation"
        await is_listed(flags, made)


async def is_in_the_manifest(flags, slug):
    (flag,) = [flag for flag in await flags.manifest() if flag.key == slug]
    assert (flag.type, flag.default_value) == ("boolean", False), flag
    assert (flag.name, flag.description) == ("Checkout", "The new one."), flag


async def replaces(flags, slug):
    before = await flags.get(slug)
    variants = [*VARIANTS, targeting.variant("maybe", True)]
    await flags.update(slug, name="Buying", type="boolean", variants=variants, default_variant="maybe", enabled=False)
    after = await flags.get(slug)
    assert (after.id, after.name, after.enabled) == (before.id, "Buying", False), after
    assert [variant.name for variant in after.variants] == ["on", "off", "maybe"], after
    assert after.default_variant.value == "maybe" and not after.targetings, after
    assert (after.description, after.metadata, after.event_name) == (None, {}, ""), "what is left out is cleared"


async def refuses(flags, slug):
    definition = {"name": "Buying", "type": "boolean", "variants": VARIANTS, "default_variant": "off"}
    await fails(ConflictError, 409, flags.create(slug=slug, **definition), "CreateFeatureFlag.SlugConflict")
    await fails(NotFoundError, 404, flags.update(f"no-{slug}", **definition), "UpdateFeatureFlag.NotFound")
    retyped = flags.update(slug, **{**definition, "type": "string", "variants": [targeting.variant("off", "no")]})
    await fails(UnprocessableEntityError, 422, retyped, "UpdateFeatureFlag.TypeNotChangeable")
    broken = flags.create(**definition, targetings=[targeting.rule("Broken", "plan ==", "on")])
    error = await fails(UnprocessableEntityError, 422, broken)
    assert [detail.location for detail in error.errors] == ["body.targetings[0].rule"], error.errors
