"""Statements and white space, apart by lines of dashes."""

STATEMENTS = r"""
a
b

----
{% if i %}yes{% endif %}
----
{% if e %}a{% elif nil %}b{% elif i %}c{% else %}d{% endif %}
----
{% if e %}a{% else %}b{% endif %}
----
{% if undef %}a{% endif %}b
----
  {% if t %}
  x
  {% endif %}
y
----
  {%+ if t %}
x
  {%+ endif +%}
y
----
a  {%- if t -%}  b  {%- endif -%}  c
----
a
{#- comment -#}
b
----
a
   {# comment #}
b {# x #} c
----
a {# multi
line
#} b
----
{{ 'x' }}
{{ 'y' -}}
   z
----
   {{- 'x' }}  y
----
   {{+ 'x' }}  y
----
{% raw %}{{ x }} {% if %} {# #}{% endraw %}
----
{% raw -%}   a   {%- endraw %}  b
----
   {% raw %}
 x
   {% endraw %}
 y
----
{%- raw -%}  x {%- endraw -%}  y
----
{% raw %}unclosed
----
{# unclosed
----
{{ x
----
{% if x
----
{% if t %}
----
{% endif %}
----
{% for %}{% endfor %}
----
{% nothing %}
----
{% %}
----
{{ }}
----
{{}}
----
{%%}
----
{
----
{ { x } } }} %} #}
----
{{ '}}' }} {{ "%}" }} {{ {'a': {'b': 1}}['a'] }}
----
{% set x = '%}' %}{{ x }}
----
a{% set x = 1 %}
b
----
a
  {% set x = 1 %}  
b
----
{% for x in l %}{{ x }},{% endfor %}
----
{% for x in l %}
{{ x }}
{% endfor %}
end
----
{% for x in el %}a{% else %}none{% endfor %}
----
{% for x in l %}a{% else %}none{% endfor %}
----
{% for k in d %}{{ k }}{% endfor %}
----
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
----
{% for k, v in d %}{{ k }}{% endfor %}
----
{% for a, b in nested %}{{ a }}-{{ b }};{% endfor %}
----
{% for (a, b) in nested %}{{ a }}-{{ b }};{% endfor %}
----
{% for a, (b, c) in [(1, (2, 3)), [4, '56']] %}{{ a }}{{ b }}{{ c }};{% endfor %}
----
{% for a, b in [(1, 2, 3)] %}{% endfor %}
----
{% for a, b in [1] %}{% endfor %}
----
{% for x in 5 %}{% endfor %}
----
{% for x in nil %}{% endfor %}
----
{% for x in undef %}a{% else %}b{% endfor %}
----
{% for c in uni %}[{{ c }}]{% endfor %}
----
{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} {% endfor %}
----
{% for x in l if x > 9 %}{{ x }}{% else %}nothing{% endfor %}
----
{% for k, v in d.items() if v %}{{ k }}{{ loop.last }}{{ loop.length }}{% endfor %}
----
{% for x in l if loop.first %}{{ x }}{% endfor %}
----
{% for x in l if x != y %}{{ x }}{% set y = 1 %}{% endfor %}
----
{% for x in l if x in [1, 2] if true %}{% endfor %}
----
{% for x in (l if t else el) %}{{ x }}{% endfor %}
----
{% for x in l if t else el %}{{ x }}{% endfor %}
----
{% for x in 1, 2, 3 %}{{ x }}{% endfor %}
----
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
----
{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}
----
{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
----
{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }};{% endfor %}
----
{% for x in l %}{{ loop.cycle() }}{% endfor %}
----
{% for x in l %}{{ loop }} {{ loop.zz }} {{ loop['index'] }}{% endfor %}
----
{% for x in l | map('string') %}{{ loop.last }}{{ loop.length }}{{ loop.revindex }};{% endfor %}
----
{% for x in l | select('odd') %}{{ loop.nextitem }}|{{ loop.length }};{% endfor %}
----
{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}
----
{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}
----
{% for x in l %}{% for y in 'ab' %}{{ loop.first }}{% endfor %}{% endfor %}{{ loop }}
----
{% for loop in l %}{% endfor %}
----
{% for x in l %}{% set loop = 1 %}{% endfor %}
----
{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}
----
{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
----
{% for x in l %}{% break %}{% else %}else{% endfor %}
----
{% for x in l %}{% continue %}{% else %}else{% endfor %}
----
{% for x in l %}{% if x == 2 %}{% continue %}{% endif %}{% else %}else{% endfor %}
----
{% break %}
----
{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
----
{% for x in l %}{% set y %}{% break %}{% endset %}{% endfor %}ok
----
{% for x in l %}{% filter upper %}a{% continue %}{% endfilter %}{% endfor %}ok
----
{% set x = 1 %}{% for y in l %}{% set x = x + y %}{{ x }},{% endfor %}{{ x }}
----
{% for y in l %}{% set x = y %}{% endfor %}{{ x }}|
----
{% for y in l %}{{ x }}{% set x = y %}{{ x }};{% endfor %}
----
{% set i = 1 %}{{ i }}{% for y in l %}{% set i = i + y %}{{ i }};{% endfor %}{{ i }}
----
{% for y in l %}{{ i }}{% set i = y %}{{ i }};{% endfor %}{{ i }}
----
{% if t %}{% set x = 5 %}{% endif %}{{ x }}
----
{% if no %}{% set x = 5 %}{% endif %}{{ x }}|{{ x is defined }}
----
{% if no %}{% set i = 5 %}{% endif %}{{ i }}
----
{% if no %}{% set i = 5 %}{% else %}{% set i = 6 %}{% endif %}{{ i }}
----
{% if no %}{% set i = 1 %}{% elif t %}{% set j = 2 %}{% endif %}{{ i }}{{ j }}
----
{% for y in l %}{% if y == 1 %}{% set x = y %}{% endif %}{{ x }};{% endfor %}
----
{% set x = 0 %}{% for y in l %}{% if y == 1 %}{% set x = y %}{% endif %}{{ x }};{% endfor %}{{ x }}
----
{% for y in l %}{% for z in l %}{% set x = z %}{% endfor %}{{ x }};{% endfor %}
----
{% set l = l[1:] %}{{ l }}{% for l in l %}{{ l }}{% endfor %}{{ l }}
----
{% for x in l %}{% endfor %}{{ x }}|
----
{% for x in l %}{% else %}{% endfor %}{{ x is defined }}
----
{% for x in el %}{% else %}{% set z = 1 %}{{ z }}{% endfor %}{{ z }}
----
{% set ns = namespace(x=0) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}
----
{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}
----
{% set ns = namespace(l=[]) %}{% for y in l %}{% set ns.l = ns.l + [y] %}{% endfor %}{{ ns.l }}{{ ns }}
----
{% set d.x = 1 %}
----
{% set undef.x = 1 %}
----
{% set ns = namespace() %}{% set ns.x %}text{% endset %}{{ ns.x }}
----
{% set ns = namespace() %}{% for ns.x in l %}{% endfor %}
----
{% set a, b = 1, 2 %}{{ a }}{{ b }}
----
{% set a, b = l %}
----
{% set (a, b) = 'xy' %}{{ a }}{{ b }}
----
{% set a = 1, 2 %}{{ a }}
----
{% set a = 1 if t else 2 %}{{ a }}
----
{% set a %}x{{ i }}y{% endset %}{{ a }}
----
{% set a | upper %}x{{ i }}y{% endset %}{{ a }}
----
{% set a | upper | replace('X', '-') %}xyx{% endset %}{{ a }}
----
{% set a %}{% set b = 2 %}{{ b }}{% endset %}{{ a }}{{ b }}
----
{% set a = 1 %}{% set a %}{{ a }}x{% endset %}{{ a }}
----
{% set true = 1 %}
----
{% set 1 = 1 %}
----
{% set a.b.c = 1 %}
----
{% set a[0] = 1 %}
----
{% set a %}
----
{% macro m() %}x{% endmacro %}{{ m() }}{{ m() }}
----
{% macro m(a, b=2, c='z') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 5) }}{{ m(1, c=9) }}{{ m(b=1, a=2) }}{{ m() }}
----
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
----
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
----
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
----
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}{{ m() }}
----
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}
----
{% macro m(a=b, b=2) %}{{ a }}|{{ b }}{% endmacro %}{{ m() }}
----
{% macro m(i=i) %}[{{ i }}]{% endmacro %}{{ m() }}{{ m(3) }}
----
{% macro m(a=1, b) %}{% endmacro %}
----
{% macro m(a, a) %}{% endmacro %}{{ m(1, 2) }}
----
{% macro m(x) %}{% if x > 0 %}{{ x }}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}
----
{% macro m() %}{{ i }}{% set i = 2 %}{{ i }}{% endmacro %}{{ m() }}{{ i }}
----
{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}
----
{% macro m() %}{{ x }}{% endmacro %}{{ m() }}|{% set x = 2 %}{{ m() }}
----
{% macro m() %}{{ i }}{% endmacro %}{{ m() }}|{% set i = 2 %}{{ m() }}
----
{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}
----
{% for x in l %}{% macro m(y) %}{{ x }}{{ y }}{{ loop.index }}{% endmacro %}{{ m('a') }}{% endfor %}{{ m }}
----
{% macro a() %}{% macro b() %}in{% endmacro %}{{ b() }}{% endmacro %}{{ a() }}{{ b }}
----
{% macro a(x) %}{% macro b(y) %}{{ x }}{{ y }}{% endmacro %}{{ b(1) }}{{ b(2) }}{% endmacro %}{{ a('p') }}{{ a('q') }}
----
{% macro m() %}  x  {% endmacro %}[{{ m() | trim }}]{{ m }}{{ m.name }}{{ m.arguments }}
----
{% macro m(a, b=1) %}{{ caller }}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.caller }}{{ m.catch_kwargs }}{{ m.catch_varargs }}
----
{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body{{ i }}{% endcall %}
----
{% macro m() %}[{{ caller(1, b=2) }}]{% endmacro %}{% call(a, b=5, c=7) m() %}{{ a }}{{ b }}{{ c }}{% endcall %}
----
{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}{% call m('p') %}q{% set z = 1 %}{% endcall %}{{ z }}
----
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
----
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
----
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
----
{% macro m(caller=1) %}{{ caller }}{% endmacro %}{{ m() }}{{ m(2) }}{% call m() %}{% endcall %}
----
{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(2) }}
----
{% macro m() %}{{ kwargs }}{{ caller() }}{% endmacro %}{% call m(a=1) %}x{% endcall %}
----
{% macro outer() %}{% call inner() %}{{ caller() }}{% endcall %}{% endmacro %}{% macro inner() %}<{{ caller() }}>{% endmacro %}{% call outer() %}x{% endcall %}
----
{% call 5 %}{% endcall %}
----
{% call s.upper() %}x{% endcall %}
----
{% macro m(f, x) %}{{ f(x) }}{% endmacro %}{% macro g(x) %}<{{ x }}>{% endmacro %}{{ m(g, 1) }}
----
{{ m() }}{% macro m() %}x{% endmacro %}
----
{% if t %}{% macro m() %}x{% endmacro %}{% endif %}{{ m() }}
----
{% if no %}{% macro m() %}x{% endmacro %}{% endif %}{{ m is defined }}
----
{% macro m %}{% endmacro %}
----
{% macro 5() %}{% endmacro %}
----
{% filter upper %}abc{{ i }}{% endfilter %}
----
{% filter upper | replace('A', '-') %}abc{% endfilter %}
----
{% filter indent(2) %}a
b{% endfilter %}
----
{% filter nothing %}{% endfilter %}
----
{% filter upper %}{% set x = 'a' %}{{ x }}{% endfilter %}{{ x }}
----
{% with a = 1, b = i %}{{ a }}{{ b }}{% endwith %}{{ a }}
----
{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}
----
{% with a = 1, b = a %}{{ b }}|{% endwith %}
----
{% with i = i + 1 %}{{ i }}{% endwith %}{{ i }}
----
{% generation %}text{{ i }}{% set z = 1 %}{% endgeneration %}{{ z }}|
----
{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}
----
{% for x in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
----
{% for x in l %}
    {%- if x == 3 %}
        {%- generation %}
 three
        {%- endgeneration %}
    {%- endif %}
{% endfor %}
----
{% if no %}{{ x | nothing }}{% endif %}ok
----
{% if no %}{{ x is nothing }}{% endif %}ok
----
{% if t %}{{ i | nothing }}{% endif %}
----
{% if no %}{% for a in l %}{{ a | nothing }}{% endfor %}{% endif %}
----
{{ 1 if t else i | nothing }}
----
{% if i is string or undef is not defined and t %}x{% endif %}
----
{% if not i == 8 and (s or undef.x) %}x{% endif %}
----
{% if l | length > 2 %}x{% endif %}
----
{% if i, %}x{% endif %}
----
{% if (i) %}x{% endif %}{% if() %}y{% endif %}
----
{% if i: %}x{% else: %}y{% endif %}
----
{% set x = l | map('string') %}{{ x | list }}{{ x | list }}
----
{% set x = l | reverse %}{{ x | first }}{{ x | list }}
----
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
----
{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}
----
{% set ns = namespace(f=none) %}{% for x in l %}{% set ns.f = loop.cycle %}{% endfor %}{{ ns.f('a', 'b', 'c') }}
----
{% set ns = namespace(o=none) %}{% for x in l %}{% set ns.o = loop %}{% endfor %}{{ ns.o.index }}{{ ns.o.last }}{{ ns.o.previtem }}
----
{% set x = s.upper %}{{ x() }}
----
{% set range = 5 %}{{ range }}
----
{% for x in range(3) %}{% set range = 5 %}{{ range }}{% endfor %}{{ range(2) }}
----
{% for message in users %}{{- message.name }}
  {%- if not loop.last %}, {% endif %}
{%- endfor %}
----
{%- for k, v in d | dictsort -%}
    {{ k }}: {{ v }}
{% endfor -%}
end
----
{{- s -}}
----
 {{- s -}} 
 x
----
{%- set x = 1 -%}
  y
----
{# c -#}

x
----
x
{#- c #}
y
----
x
  {#+ c #}
y
----
{% set x = 1 -%}

  a
----
a
{% set x = 1 %}

b
----
	{% if t %}	
	tab
	{% endif %}	
----
{% for x in l %}{{ x }}{% if not loop.last %}
{% endif %}{% endfor %}
----
{% print i %}{% print %}{% print i, s, l %}
----
{% include 'x' %}
----
{% extends 'x' %}
----
{% set x = "a
b" %}{{ x }}
----
{{ "a
b" }}
----
{{ 'a'
   ~
   'b' }}
----
{% if t
   and i %}x{% endif %}
----
{{ i -}}{{- i }}
----
{{ '{{' }}{{ "{%" }}{{ '{#' }}
----
{{ "a" if i == 7 else "b" }}{{ 'c' if i > 9 }}|
----
{% set messages = users %}{% for m in messages %}{% if loop.index0 > 0 and messages[loop.index0 - 1].age == m.age %}same{% else %}other{% endif %}{% endfor %}
----
{% for m in users %}{% if m['name'] == 'Bob' %}{{ m['name'] }}{% elif m.age < 30 %}young{% else %}{{ m }}{% endif %}{% endfor %}
----
{% macro t(x) -%}
   <{{ x }}>
{%- endmacro %}
a {{ t(1) }} b
----
{% for a in 'ab' %}{% for b in 'cd' if b != 'c' %}{{ a }}{{ b }}{{ loop.length }}{% endfor %}{% endfor %}
----
{% for x in l if x is odd %}{{ loop.previtem }}{{ x }}{{ loop.nextitem }};{% endfor %}
----
{% for a, b in [[1, 2], [3, 4]] if a > 0 %}{{ loop.previtem }};{% endfor %}
----
{% for a in l %}{{ a }}{% if a == 1 %}{% set l = [] %}{% endif %}{% endfor %}
----
{% set a = [1, 2] %}{% set b = a %}{% set a = a + [3] %}{{ a }}{{ b }}
----
{% for c in s %}{{ c if c is upper }}{% endfor %}
----
{{ undef.x }}
----
{{ d.x.y }}
----
{% set x = undef %}{{ x is defined }}{{ x }}
----
{% set x = undef %}{{ x.y }}
----
{% macro m(x) %}{{ x is defined }}{{ x.y }}{% endmacro %}{{ m() }}
----
{% macro m(x) %}{{ x is defined }}{% endmacro %}{{ m() }}{{ m(undef) }}{{ m(none) }}
----
{% raw %}{% raw %}{% endraw %}
----
{% endraw %}
----
{% if t %}{% else %}{% else %}{% endif %}
----
{% if t %}{% elif %}{% endif %}
----
{% for x in l %}{% else %}{% else %}{% endfor %}
----
{% for x, in [[1], [2]] %}{{ x }}{% endfor %}
----
{% for x in l, %}{{ x }}{% endfor %}
----
{% set x, = [5] %}{{ x }}
----
{% set x = () %}{{ x }}
----
{% set x = %}
----
{% set = 1 %}
----
a{{ '\n' }}b
----
\{{ i }}\n
----
{{ i }}

----
{{ i }}


""".lstrip("\n").split("\n----\n")
