"""Conversations that every template is tried with: (name, context)."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather <now> & \"here\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City, e.g. \u00dcr\u00fcmqi"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 0, "default": 1.5},
            },
            "required": ["city"],
        },
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string"},
                "filter": {"type": "object", "properties": {"tags": {"type": "array"}},
                           "additionalProperties": False},
            },
        },
    },
}
EMPTY_TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object",
                                                                             "properties": {}}}}
BARE_TOOL = {"name": "bare", "description": "not wrapped",
             "parameters": {"type": "object", "properties": {"x": {"type": "number"}}}}

TEXTS = {
    "ascii": "Hello, world.",
    "latin": "na\u00efve caf\u00e9 \u00df \u0130stanbul",
    "greek": "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u03ac\u03c2",
    "cyrillic": "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
    "arabic": "\u0645\u0631\u062d\u0628\u0627 \u200f\u0628\u0627\u0644\u0639\u0627\u0644\u0645\u200e",
    "hebrew": "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "devanagari": "\u0928\u092e\u0938\u094d\u0924\u0947 \u0966\u0967\u0968",
    "thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "chinese": "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u3000",
    "korean": "\u1112\u1161\u11ab \ud55c\uad6d\uc5b4",
    "combining": "e\u0301 a\u0308\u0323 \u0915\u094d\u0937",
    "emoji": "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "math": "\U0001d54f \u2200x \u2208 \u211d: \u221a2 \u2260 1",
    "plane2": "\U00020000\U0002a6d6",
    "plane3": "\U00030000",
    "plane14": "\U000e0001\U000e0100",
    "planes15and16": "\U000f0000\U00100000\U0010fffd",
    "private": "\ue000\uf8ff \ufffd \ufeff",
    "html": "<b>\"5\" & '6' > 4</b> &amp; </tool_call>",
    "control": "\x00\x01\x07\b\f\v\x1b[0m\x7f\x80\x85\x9f",
    "lines": "one\r\ntwo\rthree\n\n\n  four  \u2028five\u2029six\n",
    "braces": "{{ not }} {% a %} {# tag #} }} %} #}",
    "marks": "<|im_start|>user\n<|im_end|><think></think>",
    "spaces": " \t leading and trailing \n ",
    "backslashes": "C:\\new\\table \\u0041 '\\''",
}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def tool(text, **more):
    return {"role": "tool", "content": text, **more}


def call(name, arguments, number=0):
    return {"id": f"call_{number:05d}", "type": "function",
            "function": {"name": name, "arguments": arguments}}


def _chats():
    yield "one user", [user("Hi")]
    yield "system and user", [system("Be brief."), user("Hi")]
    yield "no messages", []
    yield "only system", [system("Alone.")]
    yield "only assistant", [assistant("Me first.")]
    yield "two turns", [user("1"), assistant("2"), user("3")]
    yield "four turns with system", [system("S"), user("1"), assistant("2"), user("3"),
                                     assistant("4"), user("5"), assistant("6"), user("7")]
    yield "empty contents", [system(""), user(""), assistant(""), user("")]
    yield "two users in a row", [user("a"), user("b")]
    yield "two systems", [system("a"), system("b"), user("c")]
    yield "system in the middle", [user("a"), system("b"), user("c")]
    yield "unknown role", [user("a"), {"role": "developer", "content": "b"}, user("c")]
    yield "reasoning of the last turn", [
        user("q"), assistant("a", reasoning_content="because"), user("r"),
        assistant("b", reasoning_content="since\nthen")]
    yield "reasoning after a tool", [
        user("q"),
        assistant("", reasoning_content="look it up",
                  tool_calls=[call("get_weather", {"city": "Paris"})]),
        tool("rain"), assistant("Rain.", reasoning_content="as it says")]
    yield "reasoning in the text", [user("q"), assistant("<think>\nhm\n</think>\n\nyes"),
                                    user("again"), assistant("<think>no</think>maybe")]
    yield "empty reasoning", [user("q"), assistant("a", reasoning_content=""), user("b")]
    yield "one call", [
        user("Weather?"), assistant("Let me see.", tool_calls=[call("get_weather", {
            "city": "K\u00f6ln <DE>", "unit": "celsius", "days": 2})])]
    yield "call and result", [
        user("Weather?"),
        assistant(None, tool_calls=[call("get_weather", {"city": "Rome"})]),
        tool('{"temp": 21.5, "sky": "clear"}', name="get_weather", tool_call_id="call_00000")]
    yield "several calls and results", [
        user("Both?"),
        assistant("", tool_calls=[call("get_weather", {"city": "Rome"}, 1),
                                  call("search", {"query": "a\"b", "filter": {
                                      "tags": ["x", 1, None, True, 2.50, -0.0, 1e22]}}, 2),
                                  call("now", {}, 3)]),
        tool("21", name="get_weather", tool_call_id="call_00001"),
        tool("[]", name="search", tool_call_id="call_00002"),
        tool("12:00", name="now", tool_call_id="call_00003"), assistant("Done."), user("Thanks")]
    yield "results apart", [
        user("a"), assistant("", tool_calls=[call("now", {})]), tool("1"), user("b"),
        assistant("", tool_calls=[call("now", {})]), tool("2"), tool("3")]
    yield "arguments of every type", [
        user("x"), assistant("", tool_calls=[call("f", {
            "none": None, "yes": True, "no": False, "int": -7, "float": 0.1, "text": "t\n\"\\",
            "list": [[], [1, [2]]], "dict": {"a": {"b": {}}}, "": "empty key", "\u00e9": 1e-7})])]
    yield "flat call", [
        user("x"), assistant("", tool_calls=[{"name": "f", "arguments": {"a": 1}}])]
    yield "content in parts", [
        user([{"type": "text", "text": "look"}, {"type": "image"}, {"type": "text", "text": "!"}])]
    yield "parts everywhere", [
        system([{"type": "text", "text": "S"}]), user([{"type": "text", "text": "U"}]),
        assistant([{"type": "text", "text": "A"}]), user([])]
    yield "content missing", [{"role": "user"}]
    yield "role missing", [{"content": "x"}]
    yield "content null", [user("a"), assistant(None)]
    yield "content a number", [user(5)]
    yield "long", [m for i in range(60)
                   for m in (user(f"question {i} " * 9), assistant(f"answer {i}. " * 17))]
    for name, text in TEXTS.items():
        yield f"text {name}", [system(text), user(text), assistant(text, reasoning_content=text),
                               user(text)]
    for name in ("html", "control", "emoji", "planes15and16", "lines", "backslashes", "combining"):
        text = TEXTS[name]
        yield f"arguments {name}", [
            user("q"), assistant("", tool_calls=[call("f", {"a": text, text: [text]})]),
            tool(text, name=text)]


SETTINGS = [
    ("prompt", {"add_generation_prompt": True}),
    ("plain", {"add_generation_prompt": False}),
    ("thinking", {"add_generation_prompt": True, "enable_thinking": True}),
    ("not thinking", {"add_generation_prompt": True, "enable_thinking": False}),
    ("all reasoning", {"keep_all_reasoning": True, "enable_thinking": True,
                       "add_generation_prompt": True, "tools": [WEATHER, SEARCH, EMPTY_TOOL]}),
    ("one tool", {"tools": [WEATHER], "add_generation_prompt": True, "tool_choice": "auto"}),
    ("bare tool", {"tools": [BARE_TOOL], "documents": None, "date_string": "1 May 2026"}),
    ("tools null", {"tools": None, "add_generation_prompt": True}),
    ("no tools", {"tools": [], "builtin_tools": ["search"], "custom": {"a": [1]}}),
]


def contexts():
    found = []
    for number, (name, messages) in enumerate(_chats()):
        # Every chat with some of the settings, those that carry tools among them.
        for offset in (0, 3, 4, 5):
            setting, more = SETTINGS[(number + offset) % len(SETTINGS)]
            found.append((f"{name}, {setting}",
                          {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", **more}))
    return found
