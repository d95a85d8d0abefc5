"""Kaiten's two clients behind one way of calling them, and a note of what was called.

Every step of this program is written once, against the asynchronous client. `Client` gives the other
client the same face: each of its methods is awaited, and an answer that needs no waiting is the answer.
"""

import inspect

from kaitencloud import AsyncKaitenClient, KaitenClient, NotFoundError

CLIENTS = {"sync": KaitenClient, "async": AsyncKaitenClient}


class Client:
    """One of the two. `driven` has the methods that answered what they are for at least once."""

    def __init__(self, kind, base_url, token, *, driven=None, sdk=None):
        self._of = (kind, base_url)
        self._sdk = sdk or CLIENTS[kind](base_url=base_url, token=token, max_retries=0)
        self.driven = set() if driven is None else driven

    def __getattr__(self, resource):
        return Resource(getattr(self._sdk, resource), resource, self.driven)

    def with_token(self, token):
        """The same kind of client, for the same server, as somebody else."""
        return Client(*self._of, token, driven=self.driven)

    def with_options(self, **options):
        self.driven.add("with_options")
        return Client(*self._of, None, driven=self.driven, sdk=self._sdk.with_options(**options))

    def offered(self):
        """Every method that there is: its own by their names, those of a resource as `customers.get`."""
        names = set(methods(self._sdk))
        for resource, value in vars(self._sdk).items():
            if not resource.startswith("_"):
                names.update(f"{resource}.{method}" for method in methods(value))
        return names

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        closed = self._sdk.close()
        if inspect.isawaitable(closed):
            await closed
        self.driven.add("close")


class Resource:
    """What is behind `client.customers`."""

    def __init__(self, sdk, name, driven):
        self._sdk, self._name, self._driven = sdk, name, driven

    def __getattr__(self, method):
        called = getattr(self._sdk, method)

        async def call(*arguments, **named):
            answer = called(*arguments, **named)
            if inspect.isawaitable(answer):
                answer = await answer
            self._driven.add(f"{self._name}.{method}")
            return answer

        return call


def methods(of):
    """The public methods of this object's class."""
    return [name for name, _ in inspect.getmembers(type(of), inspect.isfunction) if not name.startswith("_")]


async def fails(kind, status, call, code=None):
    """Asserts that the call raises this error, with a problem document of this status and code."""
    try:
        answer = await call
    except kind as error:
        problem = error.problem
        assert problem is not None, f"no problem document: {error.body}"
        assert error.status_code == status and problem.status == status, problem
        assert code is None or error.code == code, error.code
        return error
    raise AssertionError(f"{kind.__name__} expected, answered {answer!r}")


async def is_listed(resource, made):
    """Asserts that the list of all has it once, and just so."""
    listed = [other for other in await resource.list() if other.id == made.id]
    assert listed == [made], (made, listed)


async def is_gone(resource, made):
    """Deletes it, and asserts that neither a look, nor the list, nor a second deletion finds it."""
    await resource.delete(made.slug)
    await fails(NotFoundError, 404, resource.get(made.slug))
    await fails(NotFoundError, 404, resource.delete(made.slug))
    assert made.id not in [other.id for other in await resource.list()], made
