"""Customers and instances as other systems know them: the same steps for both."""

from datetime import datetime, timedelta, timezone

from kaitencloud import ConflictError, NotFoundError, UnprocessableEntityError

from clients import fails

ATTIO = {
    "external_id": "rec_1",
    "metadata": {"stage": "won", "seats": 3},
    "web_url": "https://app.attio.example/rec_1",
    "last_error": "rate limited",
}


async def drive(client, word):
    customer = await client.customers.create(name=f"Known {word}", integrations={"attio": ATTIO})
    license = await client.licenses.create(name=f"Known {word}", type="TRIAL")
    now = datetime.now(timezone.utc)
    instance = await client.instances.create(
        name=f"Known {word}",
        customer_id=customer.id,
        license_id=license.id,
        start_license_date=now,
        end_license_date=now + timedelta(days=30),
        integrations={"attio": ATTIO},
    )
    for resource, made in [(client.customers, customer), (client.instances, instance)]:
        await shows_what_it_was_created_with(resource, made)
        await adds(resource, made)
        await replaces(resource, made)
        await removes(resource, made)
        await refuses(resource, made)


async def shows_what_it_was_created_with(resource, made):
    (name,) = made.integrations
    attio = made.integrations[name]
    assert {key: getattr(attio, key) for key in ATTIO} == ATTIO, attio
    assert attio.synced_at == made.created_at, attio
    assert await resource.get_integration(made.slug, "attio") == attio


async def adds(resource, made):
    hubspot = await resource.create_integration(made.slug, "hubspot", external_id="77")
    assert (hubspot.external_id, hubspot.metadata, hubspot.web_url, hubspot.last_error) == ("77", None, None, None)
    assert await resource.get_integration(made.slug, "hubspot") == hubspot, "what is read is what was answered"
    after = await resource.get(made.slug)
    assert after.integrations == {**made.integrations, "hubspot": hubspot}, after
    assert after.updated_at > made.updated_at and after.name == made.name, after
    again = resource.create_integration(made.slug, "hubspot", external_id="78")
    await fails(ConflictError, 409, again)


async def replaces(resource, made):
    before = await resource.get_integration(made.slug, "attio")
    answer = await resource.update_integration(made.slug, "attio", external_id="rec_2", web_url="https://attio.example")
    assert (answer.external_id, answer.web_url) == ("rec_2", "https://attio.example"), answer
    assert (answer.metadata, answer.last_error) == (None, None), "a replacement clears what is left out"
    assert answer.synced_at > before.synced_at, answer
    assert await resource.get_integration(made.slug, "attio") == answer, "what is read is what was answered"


async def removes(resource, made):
    await resource.delete_integration(made.slug, "hubspot")
    await fails(NotFoundError, 404, resource.get_integration(made.slug, "hubspot"))
    await fails(NotFoundError, 404, resource.update_integration(made.slug, "hubspot", external_id="77"))
    await fails(NotFoundError, 404, resource.delete_integration(made.slug, "hubspot"))
    assert set((await resource.get(made.slug)).integrations) == {"attio"}


async def refuses(resource, made):
    nowhere = f"no-{made.slug}"
    await fails(NotFoundError, 404, resource.get_integration(nowhere, "attio"))
    await fails(NotFoundError, 404, resource.create_integration(nowhere, "attio", external_id="1"))
    nameless = resource.update_integration(made.slug, "attio", external_id=" ")
    error = await fails(UnprocessableEntityError, 422, nameless)
    assert [detail.location for detail in error.errors] == ["body.external_id"], error.errors
