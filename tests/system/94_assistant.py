"""The example assistant (etc/examples/assistant): what it answers, and that it is once, whatever happens to it. See 22_live_http.py."""
import contextlib
import importlib
import os
import signal

from harness import TOP, Process, equal, test, wait_until
from live import person

live = importlib.import_module("22_live_http")


class Assistant:
    """It, in a conversation with a user."""

    def __init__(self, s, web=None):
        self.s, self.web = s, web or s.web1
        self.user, self.me = person(s), person(s)
        self.token_file, self.cursor_file = s.private / f"{self.me}.token", s.private / f"{self.me}.cursor"
        self.token_file.write_text(s.token(self.me, role="service") + "\n")
        self.conversation = live.conversation(s, self.user, self.me)
        self.said = []
        self.process = None

    def start(self):
        env = self.s.environment(TIDINGS_URL=f"http://127.0.0.1:{self.web.port}", ASSISTANT_TOKEN_FILE=self.token_file,
                                 ASSISTANT_CURSOR_FILE=self.cursor_file)
        self.process = Process(f"assistant-{self.me}", ["/usr/bin/python3", TOP / "etc" / "examples" / "assistant" / "assistant.py"], env,
                               self.s.logs)

    def kill(self):
        self.process.signal(signal.SIGKILL)
        self.process.wait()

    def say(self, *words):
        for text in words:
            live.say(self.s, "chat_message", {"conversation_id": self.conversation, "message": text}, self.user)
            self.said.append(text)

    def history(self):
        return live.say(self.s, "get_history", {"conversation_id": self.conversation, "limit": 100}, self.user)["data"]["messages"]

    def answers(self):
        return [m["message"] for m in self.history() if m["sender"] == "ai_assistant"]

    def wait_answers(self, count):
        def there():
            self.process.alive()
            return len(self.answers()) >= count

        wait_until(there, f"{count} answers; {self.process.log.read_text()[-1000:]}")

    def wait_all(self):
        """Everything was answered once, in order. A last message shows that no other answer was on its way."""
        self.say("that is all")
        wait_until(lambda: self.process.alive() and self.answers()[-1:] == ["You said: that is all"], "the last answer")
        equal(self.answers(), [f"You said: {text}" for text in self.said], "answers")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.kill()


@test("a user writes, the assistant answers: to everyone in the conversation, under its name; it does not answer itself")
def _(s):
    with Assistant(s) as assistant, live.listen(s, assistant.user, f"chats/{assistant.user}") as client:
        assistant.say("Hello")
        got = client.take(2)
        equal([(m["type"], m["data"]["sender"], m["data"]["message"]) for m in got],
              [("chat_message", assistant.user, "Hello"), ("chat_message", "ai_assistant", "You said: Hello")], "chat")
        assistant.say("x" * 4000)
        equal(client.take(2)[1]["data"]["message"], ("You said: " + "x" * 4000)[:4000], "a long answer")
        equal(len(assistant.history()), 4, "messages")


@test("what is written while the assistant is not there, killed or never started, is answered once when it is")
def _(s):
    assistant = Assistant(s)
    assistant.say("before its first start")
    with assistant:
        assistant.wait_answers(1)
        assistant.kill()
        assistant.say("one", "two")
        assistant.start()
        assistant.wait_answers(3)
        assistant.kill()
        assistant.start()
        assistant.wait_all()


@test("the assistant is killed in its first moment: what had waited was sent to it, and is answered by the next one")
def _(s):
    with s.web() as web:
        assistant = Assistant(s, web)
        assistant.say("one", "two")
        programs = web.programs("live.fcgi")
        for pid in programs:
            os.kill(pid, signal.SIGSTOP)  # so it cannot answer
        try:
            with assistant:
                wait_until(assistant.cursor_file.exists, "it to know what waits")
        finally:
            for pid in programs:
                os.kill(pid, signal.SIGCONT)
        with assistant:
            assistant.wait_all()


@test("the assistant is killed at any moment, also between its answer and writing down how far it is: one answer each")
def _(s):
    with Assistant(s) as assistant:
        for n in range(5):
            before = assistant.cursor_file.read_text() if n else None
            assistant.say(*(f"{n}.{i}" for i in range(4)))
            assistant.wait_answers(4 * n + 1 + n % 4)
            assistant.kill()
            if before:
                assistant.cursor_file.write_text(before)
            assistant.start()
            assistant.wait_answers(4 * n + 4)
        assistant.wait_all()


@test("sidecar, web server and token go and come back: the assistant waits, and goes on")
def _(s):
    node = s.start_node()
    with s.web(node) as web, Assistant(s, web) as assistant:
        assistant.say("before")
        assistant.wait_answers(1)
        node.stop()
        s.forget(node)
        assistant.say("meanwhile")
        wait_until(lambda: "/poll" in assistant.process.log.read_text(), "it to notice")
        assistant.token_file.write_text(s.token(assistant.me, role="service", ttl=-10))
        node = s.start_node(node.port)
        wait_until(lambda: "401" in assistant.process.log.read_text(), "its token to be refused")
        assistant.token_file.write_text(s.token(assistant.me, role="service"))
        assistant.wait_all()
    node.stop()
    s.forget(node)
