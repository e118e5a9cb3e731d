"""A program that does nothing, so that a command line can be tried without one."""

from netchat.api import Person
from netchat.frontends import cli
from netchat.frontends.program import (
    ChatOptions,
    IdentityOptions,
    ReleaseOptions,
    ServeOptions,
    SimOptions,
    TrustOptions,
    VerifyOptions,
    Whoami,
)
from netchat.model import Name, PeerId, TrustState

Options = (
    ChatOptions
    | ServeOptions
    | SimOptions
    | IdentityOptions
    | VerifyOptions
    | TrustOptions
    | ReleaseOptions
)
KEY, NEW_KEY = PeerId(bytes(32)), PeerId(b"\xff" * 32)
BOB = Person(name=Name("bob"), state=TrustState.TOFU, key=KEY, number="11111 22222")


class Recorder:
    """A program that does nothing but remember, or fail, or return what it was given."""

    def __init__(
        self,
        error: Exception | None = None,
        status: int = 0,
        *,
        person: Person = BOB,
        who: Whoami | None = None,
        held: bool = True,
    ) -> None:
        self.options: Options | None = None
        self._error = error
        self._status = status
        self._person = person
        self._who = who or Whoami(Name("alice"), KEY, is_locked=False)
        self._held = held

    def _do(self, options: Options) -> int:
        self.options = options
        if self._error is not None:
            raise self._error
        return self._status

    def chat(self, options: ChatOptions) -> int:
        return self._do(options)

    def serve(self, options: ServeOptions) -> int:
        return self._do(options)

    def sim(self, options: SimOptions) -> int:
        return self._do(options)

    def identity(self, options: IdentityOptions) -> Whoami:
        self._do(options)
        return self._who

    def verify(self, options: VerifyOptions) -> Person:
        self._do(options)
        return self._person

    def trust(self, options: TrustOptions) -> Person:
        self._do(options)
        return self._person

    def release(self, options: ReleaseOptions) -> bool:
        self._do(options)
        return self._held


def options_of(*arguments: str) -> Options | None:
    """What the program is called with for this command line."""
    recorder = Recorder()
    assert cli.run(arguments, recorder) == 0
    return recorder.options
