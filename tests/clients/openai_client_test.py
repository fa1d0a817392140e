#!/usr/bin/env python3
"""The official openai client, unmodified, against a server of the bundled model: chat, streaming,
tools, schemas, logprobs, errors. Exit status 77 where the client is not installed, but in CI. argv: folder of
the programs, the source tree."""

import json
import pathlib
import sys
import typing
import unittest

BIN, SOURCE = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sys.path.insert(0, str(SOURCE / "tests"))
from served import Served, skip  # noqa: E402

try:
    import openai
    import pydantic
except ImportError as missing:
    skip(missing)

MODEL = "tiny"
CAPITAL = [{"role": "user", "content": "What is the capital of Norway?"}]
OSLO = "The capital of Norway is Oslo."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                       "required": ["city"]},
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Get the local time of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                       "required": ["city"]},
    },
}
IRIS = [{"role": "user",
         "content": "Write a JSON object for Iris, who is 34 years old and lives in Oslo."}]
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]


class Person(pydantic.BaseModel):
    name: str
    age: int
    city: typing.Literal["Oslo", "Paris", "Rome"]


class OpenAiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Served(BIN, SOURCE, "--tp", 2)
        cls.client = openai.OpenAI(base_url=f"http://{cls.server.ready['http_listen']}/v1", api_key="none",
                                   max_retries=0, timeout=60)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def ask(self, messages, **options):
        return self.client.chat.completions.create(model=MODEL, messages=messages,
                                                   **({"temperature": 0} | options))

    def test_models_are_listed(self):
        models = self.client.models.list().data
        self.assertEqual([m.id for m in models], [MODEL])
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)

    def test_a_question_is_answered(self):
        reply = self.ask(CAPITAL)
        choice = reply.choices[0]
        self.assertEqual(reply.object, "chat.completion")
        self.assertEqual(choice.message.role, "assistant")
        self.assertEqual(choice.message.content, OSLO)
        self.assertIsNone(choice.message.tool_calls)
        self.assertEqual(choice.finish_reason, "stop")
        self.assertEqual((reply.usage.prompt_tokens, reply.usage.completion_tokens,
                          reply.usage.total_tokens), (33, 9, 42))

    def test_a_stream_gives_the_same_text_and_usage_last(self):
        chunks = list(self.ask(CAPITAL, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, OSLO)
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 9)
        self.assertEqual(len({c.id for c in chunks}), 1)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))

    def test_a_stream_is_left_in_the_middle(self):
        story = [{"role": "user", "content": "Tell me a story about a fox and a lantern."}]
        stream = self.ask(story, stream=True)
        for _, _chunk in zip(range(3), stream):
            pass
        stream.close()
        self.assertEqual(self.ask(CAPITAL).choices[0].message.content, OSLO)

    def test_max_tokens_ends_with_length(self):
        reply = self.ask(CAPITAL, max_completion_tokens=4)
        self.assertEqual(reply.choices[0].finish_reason, "length")
        self.assertEqual(reply.usage.completion_tokens, 4)

    def test_stop_ends_before_the_text(self):
        self.assertEqual(self.ask(CAPITAL, stop=["Norway"]).choices[0].message.content,
                         "The capital of ")

    def test_a_seed_replays_n_outputs(self):
        options = {"temperature": 1.5, "seed": 11, "n": 3, "max_tokens": 24}
        story = [{"role": "user", "content": "Tell me a story about a fox."}]
        once, again = self.ask(story, **options), self.ask(story, **options)
        texts = [c.message.content for c in once.choices]
        self.assertEqual([c.index for c in once.choices], [0, 1, 2])
        self.assertEqual(texts, [c.message.content for c in again.choices])
        self.assertGreater(len(set(texts)), 1)

    def test_logprobs_are_those_of_the_tokens(self):
        content = self.ask(CAPITAL, logprobs=True, top_logprobs=3).choices[0].logprobs.content
        said = b"".join(bytes(entry.bytes) for entry in content).decode()
        self.assertIn(OSLO, said)
        for entry in content:
            self.assertLessEqual(entry.logprob, 0)
            self.assertEqual(len(entry.top_logprobs), 3)
            self.assertEqual(entry.top_logprobs[0].token, entry.token)
        self.assertIsNone(self.ask(CAPITAL).choices[0].logprobs)

    def test_logit_bias_forbids_a_token(self):
        entry = self.ask(CAPITAL, logprobs=True).choices[0].logprobs.content[0]
        ids = self.client.post("/../tokenize", body={"model": MODEL, "prompt": entry.token},
                               cast_to=object)["tokens"]
        reply = self.ask(CAPITAL, logit_bias={str(ids[0]): -100})
        self.assertNotEqual(reply.choices[0].message.content.split()[0], "The")

    def test_thinking_comes_as_reasoning_only(self):
        question = [{"role": "user", "content": "What is 27 + 15?"}]
        off = self.ask(question)
        self.assertEqual(off.choices[0].message.content, "27 + 15 = 42.")
        self.assertFalse(getattr(off.choices[0].message, "reasoning_content", None))
        options = {"temperature": 1, "seed": 5,
                   "extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
        message = self.ask(question, **options).choices[0].message
        self.assertEqual(message.reasoning_content, "27 + 15: the result is 42.")
        self.assertEqual(message.content, "27 + 15 = 42.")
        deltas = [c.choices[0].delta for c in self.ask(question, stream=True, **options)]
        self.assertEqual("".join(getattr(d, "reasoning_content", None) or "" for d in deltas),
                         message.reasoning_content)
        self.assertEqual("".join(d.content or "" for d in deltas), message.content)

    def test_a_tool_is_called_and_its_result_told(self):
        reply = self.ask(QUESTION, tools=[WEATHER, TIME])
        choice = reply.choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        call = choice.message.tool_calls[0]
        self.assertEqual(call.function.name, "get_weather")
        self.assertEqual(json.loads(call.function.arguments), {"city": "Paris"})
        self.assertFalse(choice.message.content)
        result = {"role": "tool", "tool_call_id": call.id,
                  "content": '{"city": "Paris", "temperature": 21, "sky": "clear"}'}
        answer = self.ask(QUESTION + [choice.message.model_dump(exclude_none=True), result],
                          tools=[WEATHER, TIME])
        self.assertEqual(answer.choices[0].message.content,
                         "In Paris it is 21 degrees and the sky is clear.")

    def test_a_tool_call_streams_as_deltas(self):
        name, arguments, index = "", "", set()
        for chunk in self.ask(QUESTION, tools=[WEATHER, TIME], stream=True):
            for call in chunk.choices[0].delta.tool_calls or []:
                index.add(call.index)
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            reason = chunk.choices[0].finish_reason
        self.assertEqual((name, json.loads(arguments), index, reason),
                         ("get_weather", {"city": "Paris"}, {0}, "tool_calls"))

    def test_the_clients_stream_helper_puts_it_together(self):
        with self.client.chat.completions.stream(model=MODEL, messages=QUESTION, temperature=0,
                                                 tools=[WEATHER, TIME]) as stream:
            final = stream.get_final_completion()
        self.assertEqual(final.choices[0].message.tool_calls[0].function.name, "get_weather")

    def test_tool_choice_is_kept(self):
        none = self.ask(QUESTION, tools=[WEATHER], tool_choice="none", max_tokens=16)
        self.assertIsNone(none.choices[0].message.tool_calls)
        for choice in ("required", {"type": "function", "function": {"name": "get_time"}}):
            reply = self.ask(CAPITAL, tools=[TIME], tool_choice=choice, temperature=1.5, seed=3,
                             max_tokens=400)
            calls = reply.choices[0].message.tool_calls
            self.assertEqual(calls[0].function.name, "get_time")
            self.assertEqual(list(json.loads(calls[0].function.arguments)), ["city"])

    def test_a_schema_holds_at_any_temperature(self):
        reply = self.client.chat.completions.parse(model=MODEL, messages=IRIS, temperature=0,
                                                   response_format=Person)
        self.assertEqual(reply.choices[0].message.parsed, Person(name="Iris", age=34, city="Oslo"))
        for seed in range(8):
            reply = self.client.chat.completions.parse(
                model=MODEL, messages=IRIS, temperature=1.5, seed=seed, max_tokens=2000,
                response_format=Person)
            self.assertEqual(reply.choices[0].finish_reason, "stop")
            self.assertIsInstance(reply.choices[0].message.parsed, Person)

    def test_json_object_is_json(self):
        reply = self.ask(IRIS, temperature=1.0, seed=5, max_tokens=2000,
                         response_format={"type": "json_object"})
        self.assertEqual(reply.choices[0].finish_reason, "stop")
        self.assertIsInstance(json.loads(reply.choices[0].message.content), dict)

    def test_completions_take_text_and_ids(self):
        prompt = "Call me Ishmael."
        once = self.client.completions.create(model=MODEL, prompt=prompt, temperature=0,
                                              max_tokens=12, logprobs=2)
        ids = self.client.post("/../tokenize", body={"model": MODEL, "prompt": prompt},
                               cast_to=object)["tokens"]
        again = self.client.completions.create(model=MODEL, prompt=ids, temperature=0,
                                               max_tokens=12)
        self.assertEqual(once.choices[0].text, again.choices[0].text)
        self.assertEqual(len(once.choices[0].logprobs.token_logprobs), 12)
        stream = self.client.completions.create(model=MODEL, prompt=prompt, temperature=0,
                                                max_tokens=12, stream=True)
        self.assertEqual("".join(c.choices[0].text for c in stream), once.choices[0].text)

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="other", messages=CAPITAL)
        self.assertEqual(caught.exception.code, "model_not_found")
        for options, param in (({"temperature": -1}, "temperature"), ({"top_p": 0}, "top_p"),
                               ({"max_tokens": 0}, "max_tokens"), ({"n": 0}, "n"),
                               ({"top_logprobs": 3}, "top_logprobs"),
                               ({"stop": [""]}, "stop")):
            with self.assertRaises(openai.BadRequestError, msg=param) as caught:
                self.ask(CAPITAL, **options)
            self.assertIn(param, str(caught.exception))
            self.assertEqual(caught.exception.type, "invalid_request_error")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.ask(CAPITAL, response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {"type": "object", "uniqueItems": 3}}})
        self.assertIn("uniqueItems", str(caught.exception))
        with self.assertRaises(openai.BadRequestError):
            self.ask([])
        with self.assertRaises(openai.APIStatusError) as caught:
            self.client.embeddings.create(model=MODEL, input="x")
        self.assertEqual(caught.exception.status_code, 501)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
