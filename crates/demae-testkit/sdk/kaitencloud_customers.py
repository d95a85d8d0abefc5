"""Takes customers through their whole life with Kaiten's official client.

    kaitencloud_customers.py BASE_URL TOKEN

Ends with 0 when the server answered everything as the client and its documentation promise their
users; a failed assertion says what it did instead. Customers are named after a random word, so that
the script can be run again, and against a database that is in use.
"""

import sys
import uuid

from kaitencloud import (
    APIStatusError,
    AuthenticationError,
    ConflictError,
    KaitenClient,
    NotFoundError,
    UnprocessableEntityError,
)

# The client asks for pages of 200, so this takes a second page.
MORE_THAN_A_PAGE = 205


def main(base_url, token):
    word = uuid.uuid4().hex[:12]
    with KaitenClient(base_url=base_url, token=token, max_retries=0) as client:
        creates_and_gets(client.customers, word)
        makes_a_slug_of_the_name(client.customers, word)
        replaces_the_details(client.customers, word)
        lists_over_pages(client.customers, word)
        deletes(client.customers, word)
        refuses_a_taken_slug(client.customers, word)
        refuses_what_is_invalid(client.customers)
        knows_no_strangers(client.customers, word)
    with KaitenClient(base_url=base_url, token="ksh_" + "0" * 40, max_retries=0) as stranger:
        fails(AuthenticationError, 401, stranger.customers.list)


def creates_and_gets(customers, word):
    made = customers.create(name=f"Acme {word}", slug=f"acme-{word}", external_customer_id=f"crm-{word}")
    assert made.name == f"Acme {word}", made
    assert made.slug == f"acme-{word}", made
    assert made.external_customer_id == f"crm-{word}", made
    assert made.created_at == made.updated_at, made
    assert made.created_by.id == made.updated_by.id, made
    assert customers.get(made.slug) == made, "what is read is what was answered on creation"


def makes_a_slug_of_the_name(customers, word):
    made = customers.create(name=f"Test Webhook Customer {word}")
    assert made.slug.startswith(f"test-webhook-customer-{word}"), made.slug
    assert customers.get(made.slug).id == made.id


def replaces_the_details(customers, word):
    slug = f"acme-{word}"
    before = customers.get(slug)
    customers.update(slug, name=f"Acme Renamed {word}", domain="acme.example")
    after = customers.get(slug)
    assert after.id == before.id and after.slug == before.slug, after
    assert after.name == f"Acme Renamed {word}", after
    assert after.domain == "acme.example", after
    assert after.external_customer_id is None, "a replacement clears what is left out"
    assert after.created_at == before.created_at and after.updated_at >= before.updated_at, after


def lists_over_pages(customers, word):
    slugs = [f"page-{word}-{number:03}" for number in range(MORE_THAN_A_PAGE)]
    for slug in slugs:
        customers.create(name=slug, slug=slug)
    listed = [customer.slug for customer in customers.list()]
    assert len(listed) == len(set(listed)), "no customer is listed twice"
    missing = set(slugs) - set(listed)
    assert not missing, f"missing from the list: {sorted(missing)}"


def deletes(customers, word):
    slug = f"page-{word}-000"
    customers.delete(slug)
    fails(NotFoundError, 404, lambda: customers.get(slug))
    fails(NotFoundError, 404, lambda: customers.delete(slug))
    assert slug not in [customer.slug for customer in customers.list()]


def refuses_a_taken_slug(customers, word):
    fails(ConflictError, 409, lambda: customers.create(name="Another", slug=f"acme-{word}"))


def refuses_what_is_invalid(customers):
    error = fails(UnprocessableEntityError, 422, lambda: customers.create(name="Acme", slug="Not A Slug"))
    locations = [detail.location for detail in error.errors]
    assert locations == ["body.slug"], locations


def knows_no_strangers(customers, word):
    fails(NotFoundError, 404, lambda: customers.get(f"stranger-{word}"))
    fails(NotFoundError, 404, lambda: customers.update(f"stranger-{word}", name="Nobody"))
    # The client percent-encodes a slug, slash included; it must not reach another path.
    error = fails(APIStatusError, None, lambda: customers.get("a/b"))
    assert error.status_code in (404, 422), error.status_code


def fails(kind, status, call):
    """Asserts that the call raises this error with a problem document of this status."""
    try:
        answer = call()
    except kind as error:
        problem = error.problem
        assert problem is not None, f"no problem document: {error.body}"
        assert status is None or (error.status_code == status and problem.status == status), problem
        return error
    raise AssertionError(f"{kind.__name__} expected, answered {answer!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
