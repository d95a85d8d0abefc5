"""Writes feature flags with Kaiten's official client, and evaluates them with OpenFeature.

    openfeature_flags.py BASE_URL TOKEN

Ends with 0 when every flag was served as docs/feature-flags.md says; a failed assertion says what was
served instead. Flags are named after a random word, so that the script can be run again.
"""

import hashlib
import sys
import uuid
from datetime import datetime, timedelta, timezone

from kaitencloud import KaitenClient, NotFoundError, UnprocessableEntityError, targeting
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

PEOPLE = [f"user-{number}" for number in range(200)]


def main(base_url, token):
    word = uuid.uuid4().hex[:12]
    headers = {"Authorization": f"Bearer {token}"}
    api.set_provider(OFREPProvider(base_url=f"{base_url}/api", headers_factory=lambda: headers))
    flags = api.get_client()
    with KaitenClient(base_url=base_url, token=token, max_retries=0) as client:
        targets(client.feature_flags, flags, f"new-checkout-{word}")
        serves_every_type(client.feature_flags, flags, word)
        splits(client.feature_flags, flags, f"colour-{word}")
        follows_a_schedule(client.feature_flags, flags, f"search-{word}")
        says_what_is_wrong(client.feature_flags, flags, word)
        lists_and_deletes(client.feature_flags, word)
    stranger = OFREPProvider(base_url=f"{base_url}/api", headers_factory=dict)
    api.set_provider(stranger)
    assert flags.get_boolean_details(f"new-checkout-{word}", True).error_code == ErrorCode.GENERAL


def targets(definitions, flags, slug):
    variants = [targeting.variant("on", True), targeting.variant("off", False)]
    rules = [
        targeting.rule("Enterprise", "plan == 'enterprise' && seats >= 10", "on"),
        targeting.split_rule("Progressive rollout", "has(context.beta) && beta", {"on": 100}),
    ]
    definition = dict(name="New checkout", type="boolean", variants=variants, default_variant="off", targetings=rules)
    made = definitions.create(slug=slug, metadata={"team": "web"}, **definition)
    assert definitions.get(slug) == made, "what is read is what was answered on creation"

    def served(**attributes):
        context = EvaluationContext(targeting_key="acme", attributes=attributes)
        details = flags.get_boolean_details(slug, False, context)
        assert details.flag_metadata["team"] == "web", details
        return details.value, details.variant, details.reason, details.flag_metadata.get("targeting")

    on = served(plan="enterprise", seats=12)
    assert on == (True, "on", Reason.TARGETING_MATCH, "Enterprise"), on
    split = served(plan="free", seats=1, beta=True)
    assert split == (True, "on", Reason.SPLIT, "Progressive rollout"), split
    off = served(plan="free", seats=1)
    assert off == (False, "off", Reason.DEFAULT, None), off
    # A rule that asks for what the context lacks does not hold.
    assert served() == off, served()
    definitions.update(slug, enabled=False, **definition)
    details = flags.get_boolean_details(slug, True, EvaluationContext("acme", {"plan": "enterprise", "seats": 12}))
    assert (details.value, details.reason) == (False, Reason.DISABLED), details


def serves_every_type(definitions, flags, word):
    cases = [
        ("string", "monthly", flags.get_string_details, ""),
        ("number", 12, flags.get_integer_details, 0),
        ("number", 0.25, flags.get_float_details, 1.0),
        ("object", {"max": 5, "hosts": ["a", None]}, flags.get_object_details, {}),
        ("boolean", True, flags.get_boolean_details, False),
    ]
    for number, (kind, value, details_of, default) in enumerate(cases):
        slug = f"type-{number}-{word}"
        variants = [targeting.variant("only", value)]
        definitions.create(name=slug, slug=slug, type=kind, variants=variants, default_variant="only")
        details = details_of(slug, default)
        assert (details.value, details.variant, details.reason) == (value, "only", Reason.STATIC), details


def splits(definitions, flags, slug):
    variants = [targeting.variant(name, name) for name in ("red", "green", "blue")]
    default = targeting.split({"red": 20, "green": 30, "blue": 50})
    definitions.create(name="Colour", slug=slug, type="string", variants=variants, default_variant=default)
    for person in PEOPLE:
        details = flags.get_string_details(slug, "", EvaluationContext(person))
        # Variants by name: blue below 0.5, green below 0.8, red.
        share = place(slug, person)
        expected = "blue" if share < 0.5 else "green" if share < 0.8 else "red"
        assert (details.value, details.reason) == (expected, Reason.SPLIT), (person, share, details)
    nobody = flags.get_string_details(slug, "none")
    assert (nobody.value, nobody.error_code) == ("none", ErrorCode.TARGETING_KEY_MISSING), nobody


def follows_a_schedule(definitions, flags, slug):
    now = datetime.now(timezone.utc)
    day = timedelta(days=1)
    variants = [targeting.variant("old", "old"), targeting.variant("new", "new")]
    # Half of the way is behind; an error of a minute moves nobody far.
    schedule = targeting.schedule(
        start=targeting.step("old", 100, now - 50 * day), end=targeting.step("new", 100, now + 50 * day)
    )
    definitions.create(name="Search", slug=slug, type="string", variants=variants, default_variant=schedule)
    for person in PEOPLE:
        share = place(slug, person)
        if abs(share - 0.5) > 0.01:
            value = flags.get_string_value(slug, "", EvaluationContext(person))
            assert value == ("new" if share < 0.5 else "old"), (person, share, value)


def says_what_is_wrong(definitions, flags, word):
    missing = flags.get_boolean_details(f"nowhere-{word}", True)
    assert (missing.value, missing.error_code) == (True, ErrorCode.FLAG_NOT_FOUND), missing
    mistyped = flags.get_string_details(f"new-checkout-{word}", "none")
    assert mistyped.error_code == ErrorCode.TYPE_MISMATCH, mistyped
    rules = [targeting.rule("Broken", "plan ==", "on")]
    variants = [targeting.variant("on", True)]
    try:
        definitions.create(name="Bad", type="boolean", variants=variants, default_variant="on", targetings=rules)
    except UnprocessableEntityError as error:
        (fault,) = error.errors
        assert fault.location == "body.targetings[0].rule", fault
        assert "line 1, column 8" in fault.message, fault
    else:
        raise AssertionError("a rule that cannot be read was taken")


def lists_and_deletes(definitions, word):
    listed = [flag.slug for flag in definitions.list() if flag.slug.endswith(word)]
    assert len(listed) == 8, listed
    manifest = {flag.key: flag for flag in definitions.manifest()}
    checkout = manifest[f"new-checkout-{word}"]
    assert (checkout.type, checkout.default_value, checkout.name) == ("boolean", False, "New checkout"), checkout
    slug = f"colour-{word}"
    definitions.delete(slug)
    for call in (definitions.get, definitions.delete):
        try:
            call(slug)
        except NotFoundError:
            continue
        raise AssertionError(f"{slug} is still there")


def place(slug, targeting_key):
    """Where somebody is in a flag, from 0 to 1, as docs/feature-flags.md has it."""
    digest = hashlib.sha256(f"{slug}:{targeting_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


if __name__ == "__main__":
    main(*sys.argv[1:])
