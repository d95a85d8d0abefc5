"""Customers: their life, lists of several pages, and what the transport does for all resources."""

from kaitencloud import (
    APIStatusError,
    AuthenticationError,
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)

from clients import fails, is_gone, is_listed

# The client asks for pages of 200, so this takes a second page.
MORE_THAN_A_PAGE = 205


async def drive(client, word):
    customers = client.customers
    await creates_and_gets(customers, word)
    await makes_a_slug_of_the_name(customers, word)
    await replaces_the_details(customers, word)
    await lists_over_pages(customers, word)
    await deletes(customers, word)
    await refuses(customers, word)
    await knows_no_strangers(client, word)
    await repeats_safely(client, word)


async def creates_and_gets(customers, word):
    made = await customers.create(name=f"Acme {word}", slug=f"acme-{word}", external_customer_id=f"crm-{word}")
    assert made.name == f"Acme {word}", made
    assert made.slug == f"acme-{word}", made
    assert made.external_customer_id == f"crm-{word}", made
    assert made.created_at == made.updated_at, made
    assert made.created_by.id == made.updated_by.id, made
    assert await customers.get(made.slug) == made, "what is read is what was answered on creation"
    await is_listed(customers, made)


async def makes_a_slug_of_the_name(customers, word):
    made = await customers.create(name=f"Test Webhook Customer {word}")
    assert made.slug.startswith(f"test-webhook-customer-{word}"), made.slug
    assert (await customers.get(made.slug)).id == made.id


async def replaces_the_details(customers, word):
    slug = f"acme-{word}"
    before = await customers.get(slug)
    await customers.update(slug, name=f"Acme Renamed {word}", domain="acme.example")
    after = await customers.get(slug)
    assert after.id == before.id and after.slug == before.slug, after
    assert after.name == f"Acme Renamed {word}", after
    assert after.domain == "acme.example", after
    assert after.external_customer_id is None, "a replacement clears what is left out"
    assert after.created_at == before.created_at and after.updated_at > before.updated_at, after


async def lists_over_pages(customers, word):
    slugs = [f"page-{word}-{number:03}" for number in range(MORE_THAN_A_PAGE)]
    for slug in slugs:
        await customers.create(name=slug, slug=slug)
    listed = [customer.slug for customer in await customers.list()]
    assert len(listed) == len(set(listed)), "no customer is listed twice"
    missing = set(slugs) - set(listed)
    assert not missing, f"missing from the list: {sorted(missing)}"


async def deletes(customers, word):
    await is_gone(customers, await customers.get(f"page-{word}-000"))


async def refuses(customers, word):
    taken = customers.create(name="Another", slug=f"acme-{word}")
    await fails(ConflictError, 409, taken, "CreateCustomer.SlugConflict")
    invalid = customers.create(name="Acme", slug="Not A Slug")
    error = await fails(UnprocessableEntityError, 422, invalid)
    assert [detail.location for detail in error.errors] == ["body.slug"], error.errors
    assert error.title and error.detail, error.problem


async def knows_no_strangers(client, word):
    customers = client.customers
    await fails(NotFoundError, 404, customers.get(f"stranger-{word}"), "GetCustomer.NotFound")
    await fails(NotFoundError, 404, customers.update(f"stranger-{word}", name="Nobody"), "UpdateCustomer.NotFound")
    # The client percent-encodes a slug, slash included; it must not reach another path.
    try:
        answer = await customers.get("a/b")
    except APIStatusError as error:
        assert error.status_code in (404, 422) and error.problem, error
    else:
        raise AssertionError(f"a slug with a slash is {answer!r}")
    async with client.with_token("ksh_" + "0" * 40) as stranger:
        await fails(AuthenticationError, 401, stranger.customers.list())


async def repeats_safely(client, word):
    keyed = client.with_options(max_retries=2, timeout=20, default_headers={"Idempotency-Key": f"once-{word}"})
    first = await keyed.customers.create(name=f"Once {word}")
    assert await keyed.customers.create(name=f"Once {word}") == first, "the key makes it the same request"
    named = [customer for customer in await client.customers.list() if customer.name == f"Once {word}"]
    assert named == [first], named
