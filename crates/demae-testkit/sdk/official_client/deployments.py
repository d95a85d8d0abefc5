"""Components, the releases made of them, and the zones that releases are deployed to."""

from kaitencloud import ConflictError, NotFoundError, UnprocessableEntityError

from clients import fails, is_gone, is_listed


async def drive(client, word):
    api, web = await has_components(client.components, word)
    old, new = await has_releases(client, word, [api, web])
    zone = await deploys(client, word, old, new)
    await keeps_what_is_in_use(client, api, new)
    await is_gone(client.deployment_zones, zone)
    for release in (old, new):
        await is_gone(client.releases, release)
    for component in (api, web):
        await is_gone(client.components, component)


async def has_components(components, word):
    api = await components.create(name=f"api-{word}", version="4.1.0", description="The server.", slug=f"api-{word}")
    assert (api.name, api.version, api.description) == (f"api-{word}", "4.1.0", "The server."), api
    assert await components.get(api.slug) == api, "what is read is what was answered on creation"
    await is_listed(components, api)
    successor = await components.create(name=f"api-{word}", version="4.2.0", previous_component_id=api.id)
    assert successor.previous_component_id == api.id and successor.slug != api.slug, successor
    updated = await components.update(successor.slug, name=f"web-{word}", version="1.0.0")
    assert (updated.name, updated.version, updated.description) == (f"web-{word}", "1.0.0", None), updated
    assert (updated.id, updated.previous_component_id) == (successor.id, api.id), updated
    assert await components.get(successor.slug) == updated, "what is read is what was answered"
    await fails(ConflictError, 409, components.create(name=f"api-{word}", version="4.1.0"))
    await fails(ConflictError, 409, components.create(name="other", version="1", slug=api.slug))
    await fails(NotFoundError, 404, components.update(f"no-{word}", name="nothing", version="1"))
    return api, updated


async def has_releases(client, word, components):
    releases = client.releases
    ids = [component.id for component in components]
    made = await releases.create(version=f"1.0-{word}", description="The first.", component_ids=ids, slug=f"one-{word}")
    assert (made.version, made.description, made.slug) == (f"1.0-{word}", "The first.", f"one-{word}"), made
    assert {component.id for component in made.components} == set(ids), made.components
    assert await releases.get(made.slug) == made, "what is read is what was answered on creation"
    await is_listed(releases, made)
    await fails(ConflictError, 409, releases.create(version=f"1.0-{word}"), "CreateRelease.VersionConflict")
    nobody = releases.create(version=f"9.0-{word}", component_ids=["00000000-0000-4000-8000-000000000000"])
    await fails(NotFoundError, 404, nobody, "CreateRelease.ComponentNotFound")
    empty = await releases.create(version=f"2.0-{word}")
    assert not empty.components and empty.slug, empty
    return made, empty


async def deploys(client, word, old, new):
    zones, slug = client.deployment_zones, f"eu-{word}"
    made = await zones.create(
        name="Europe", type="production", slug=slug, metadata={"region": "eu", "tiers": [1, 2]}, release_id=old.id
    )
    assert (made.name, made.type, made.slug, made.description) == ("Europe", "production", slug, ""), made
    assert (made.metadata, made.release_id) == ({"region": "eu", "tiers": [1, 2]}, old.id), made
    assert await zones.get(slug) == made, "what is read is what was answered on creation"
    await is_listed(zones, made)
    await zones.update(slug, name="Europe, West", type="staging", description="Paris.", release_id=new.id)
    after = await zones.get(slug)
    assert (after.id, after.name, after.type) == (made.id, "Europe, West", "staging"), after
    assert (after.description, after.metadata or {}, after.release_id) == ("Paris.", {}, new.id), after
    await zones.update(slug, name="Europe", type="staging")
    assert (await zones.get(slug)).release_id == new.id, "a zone keeps its release"
    await fails(ConflictError, 409, zones.create(name="Another", type="x", slug=slug), "CreateDeploymentZone.SlugConflict")
    nothing = zones.update(slug, name="Europe", type="staging", release_id="00000000-0000-4000-8000-000000000000")
    await fails(NotFoundError, 404, nothing, "UpdateDeploymentZone.ReleaseNotFound")
    await fails(UnprocessableEntityError, 422, zones.create(name="", type="production"))
    return await zones.get(slug)


async def keeps_what_is_in_use(client, component, release):
    await fails(ConflictError, 409, client.components.delete(component.slug), "DeleteComponent.InUseConflict")
    await fails(ConflictError, 409, client.releases.delete(release.slug), "DeleteRelease.InUseConflict")
