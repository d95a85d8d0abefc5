"""Usage: reports, limits that agree with `kaitencloud.usage`, and what is read back."""

from datetime import datetime, timedelta, timezone

from kaitencloud import (
    UNLIMITED,
    BadRequestError,
    NotFoundError,
    ThresholdExceededError,
    UnprocessableEntityError,
    usage,
)

from clients import fails


async def drive(client, word):
    instance, license = await an_instance(client, word)
    metered = Metered(client, word, instance, license)
    await folds_reports(metered)
    await resets(metered)
    await agrees_on_limits(metered)
    await refuses(metered)
    await lists(metered)


class Metered:
    """An instance, and the entitlements that its license grants one after the other."""

    def __init__(self, client, word, instance, license):
        self.client, self.word, self.license = client, word, license
        self.instances, self.slug = client.instances, instance.slug
        self.granted = []

    async def grant(self, name, value, overage_percent=None, **definition):
        slug = f"{name}-{self.word}"
        await self.client.entitlements.create(name=name, slug=slug, **{"type": "NUMBER", **definition})
        await self.client.licenses.associate_entitlement(
            self.license.slug, slug, value, overage_percent=overage_percent
        )
        self.granted.append(slug)
        return slug

    async def used(self, entitlement):
        return (await self.instances.get_usage(self.slug, entitlement)).value.value


async def an_instance(client, word):
    customer = await client.customers.create(name=f"User {word}")
    license = await client.licenses.create(name=f"Metered {word}", type="PAID")
    now = datetime.now(timezone.utc)
    made = await client.instances.create(
        name=f"Metered {word}",
        customer_id=customer.id,
        license_id=license.id,
        start_license_date=now,
        end_license_date=now + timedelta(days=30),
    )
    return made, license


async def folds_reports(metered):
    expected = {"SUM": 9, "COUNT": 3, "AVERAGE": 3, "MIN": 1, "MAX": 6, "LATEST": 2}
    for method, value in expected.items():
        slug = await metered.grant(f"{method.lower()}-used", 1_000, aggregation_method=method)
        before = await metered.instances.get_usage(metered.slug, slug)
        assert (before.value.value, before.value.event_count) == (0, 0), before
        for report in (1, 6, 2):
            answer = await metered.instances.report_usage(metered.slug, slug, report, metadata={"by": "test"})
        assert (answer.value.value, answer.value.event_count) == (value, 3), (method, answer)
        assert (answer.entitlement_slug, answer.license_slug) == (slug, metered.license.slug), answer
        assert (answer.limit.value, answer.license_id) == (1_000, metered.license.id), answer
        assert await metered.instances.get_usage(metered.slug, slug) == answer, "what is read is what was answered"
    answer = await metered.instances.report_usage(metered.slug, slug, 0.25, behavior="set")
    assert (answer.value.value, answer.value.event_count) == (0.25, 1), answer


async def resets(metered):
    lifetime = await metered.instances.get_usage(metered.slug, f"sum-used-{metered.word}")
    assert (lifetime.current_period_start, lifetime.current_period_end) == (None, None), lifetime
    slug = await metered.grant("daily", 10, reset_period="DAY")
    # A pair of readings around the report, for a test that begins a second before midnight.
    days = [datetime.now(timezone.utc).date()]
    daily = await metered.instances.report_usage(metered.slug, slug, 4)
    days.append(datetime.now(timezone.utc).date())
    assert daily.current_period_start.date() in days, daily
    assert daily.current_period_end - daily.current_period_start == timedelta(days=1), daily


async def agrees_on_limits(metered):
    """Whatever the client says that the server takes, the server takes, and nothing else."""
    for name, value, percent in [("hard", 100, 0), ("soft", 100, 10), ("free", UNLIMITED, None), ("none", 0, 0)]:
        slug = await metered.grant(name, value, percent)
        grant = await metered.client.licenses.get_entitlement(metered.license.slug, slug)
        value, percent = grant.value.value, grant.limit_cap_exceeded_overage_percent
        kind = (usage.is_unlimited(value), usage.is_hard_limit(value, percent), usage.is_soft_limit(value, percent))
        assert kind == (name == "free", name in ("hard", "none"), name == "soft"), (name, grant)
        for total in (0, 0.5, 99, 100, 100.5, 110, 110.000000001, 1_000_000):
            before = await metered.used(slug)
            report = metered.instances.report_usage(metered.slug, slug, total, behavior="set")
            if usage.accepts(value, total, percent):
                assert (await report).value.value == total, (name, total)
                continue
            await fails(ThresholdExceededError, 409, report, "ReportEntitlementUsageMetric.ThresholdExceeded")
            assert await metered.used(slug) == before, "a refused report changes nothing"
        used, cap = await metered.used(slug), usage.maximum_allowed_usage(value, percent)
        assert used == (1_000_000 if cap is None else cap), (name, used)
        assert usage.remaining(value, used, percent) == (None if cap is None else 0), (name, used)
        shown = usage.percentage_used(value, used)
        expected = {"hard": 100, "soft": 110, "free": None, "none": None}[name]
        assert shown == expected or round(shown, 9) == expected, (name, shown)


async def refuses(metered):
    report, word = metered.instances.report_usage, metered.word
    switch = await metered.grant("switch", True, type="BOOLEAN")
    unsupported = report(metered.slug, switch, 1)
    await fails(BadRequestError, 400, unsupported, "ReportEntitlementUsageMetric.UnsupportedEntitlementType")
    for instance, entitlement, code in [
        (metered.slug, f"no-{word}", "ReportEntitlementUsageMetric.EntitlementNotFound"),
        (f"no-{word}", switch, "ReportEntitlementUsageMetric.InstanceNotFound"),
    ]:
        await fails(NotFoundError, 404, report(instance, entitlement, 1), code)
    await fails(UnprocessableEntityError, 422, report(metered.slug, f"hard-{word}", 1e300))
    await fails(NotFoundError, 404, metered.instances.get_usage(metered.slug, f"no-{word}"))
    await fails(NotFoundError, 404, metered.instances.list_usage(f"no-{word}"))


async def lists(metered):
    listed = {entry.entitlement_slug: entry for entry in await metered.instances.list_usage(metered.slug)}
    assert set(listed) == set(metered.granted), set(metered.granted) ^ set(listed)
    for slug, entry in listed.items():
        assert entry == await metered.instances.get_usage(metered.slug, slug), entry
    switch = listed[f"switch-{metered.word}"]
    assert (switch.value.value, switch.limit.value) == (True, True), switch
