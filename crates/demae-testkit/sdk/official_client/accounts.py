"""Service accounts and their tokens: what a token may do, and that it may nothing once it is revoked."""

from datetime import datetime, timedelta, timezone

from kaitencloud import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UnprocessableEntityError,
)

from clients import fails, is_listed


async def drive(client, word):
    slug = f"billing-{word}"
    await creates_and_renames(client.service_accounts, slug)
    reader = await limits_a_token_to_its_scopes(client, slug)
    await inherits_scopes(client, slug)
    await lists_tokens_without_secrets(client.service_accounts, slug, reader)
    await revokes(client, slug, reader)


async def creates_and_renames(accounts, slug):
    made = await accounts.create(name="Billing", slug=slug)
    assert (made.name, made.slug, made.tokens or []) == ("Billing", slug, []), made
    assert made.id and made.created_at and made.created_by.id, made
    assert await accounts.get(slug) == made, "what is read is what was answered on creation"
    await is_listed(accounts, made)
    generated = await accounts.create(name=f"Sync of {slug}")
    assert generated.slug.startswith(f"sync-of-{slug}"), generated
    await fails(ConflictError, 409, accounts.create(name="Another", slug=slug), "CreateServiceAccount.SlugConflict")
    await accounts.update(slug, name="Billing and more")
    renamed = await accounts.get(slug)
    assert (renamed.id, renamed.name, renamed.slug) == (made.id, "Billing and more", slug), renamed
    await fails(NotFoundError, 404, accounts.get(f"no-{slug}"))
    await fails(NotFoundError, 404, accounts.update(f"no-{slug}", name="Nobody"))
    await fails(NotFoundError, 404, accounts.list_tokens(f"no-{slug}"))


async def limits_a_token_to_its_scopes(client, slug):
    expires_at = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=1)
    made = await client.service_accounts.create_token(
        slug, name="reader", slug="reader", scopes=["read:customers"], expires_at=expires_at
    )
    assert made.token.startswith("ksh_"), "the only answer with the secret"
    assert (made.name, made.slug, made.scopes, made.expires_at) == ("reader", "reader", ["read:customers"], expires_at)
    assert made.service_account_id == (await client.service_accounts.get(slug)).id, made
    async with client.with_token(made.token) as reader:
        assert await reader.customers.list(), "what it may read"
        await fails(PermissionDeniedError, 403, reader.customers.create(name="Refused"), "Auth.MissingScope")
        await fails(PermissionDeniedError, 403, reader.instances.list(), "Auth.MissingScope")
    taken = client.service_accounts.create_token(slug, name="another", slug="reader")
    await fails(ConflictError, 409, taken, "CreateToken.SlugConflict")
    unheard = client.service_accounts.create_token(slug, name="odd", scopes=["read:minds"])
    error = await fails(UnprocessableEntityError, 422, unheard)
    assert [detail.location for detail in error.errors] == ["body.scopes[0]"], error.errors
    return made


async def inherits_scopes(client, slug):
    made = await client.service_accounts.create_token(slug, name="heir")
    async with client.with_token(made.token) as heir:
        customer = await heir.customers.create(name=f"Customer of {slug}")
        account = await client.service_accounts.get(slug)
        assert customer.created_by.id == account.id, "who acts is the service account"


async def lists_tokens_without_secrets(accounts, slug, reader):
    listed = {token.name: token for token in await accounts.list_tokens(slug)}
    assert set(listed) == {"reader", "heir"}, listed
    assert listed["reader"].id == reader.id and listed["reader"].scopes == reader.scopes, listed
    assert all("token" not in token.to_dict() for token in listed.values()), "a secret is in the list"
    held = (await accounts.get(slug)).tokens
    assert {token.id for token in held} == {token.id for token in listed.values()}, held


async def revokes(client, slug, reader):
    async with client.with_token(reader.token) as revoked:
        await revoked.customers.list()
        await client.service_accounts.delete_token(slug, reader.slug)
        await fails(AuthenticationError, 401, revoked.customers.list())
    await fails(NotFoundError, 404, client.service_accounts.delete_token(slug, f"no-{slug}"))
