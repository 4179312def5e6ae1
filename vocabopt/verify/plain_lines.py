"""Plain English and code: what a tokenizer must not lose whatever language it gains.

The hard strings look for rare faults; these lines tell how much of common text changed, where nothing guards it.
"""

_ENGLISH = """
The quick brown fox jumps over the lazy dog.
She had not expected the letter to arrive before the end of the week.
We went to the market in the morning and came back with bread, cheese and a basket of apples.
Nobody knows exactly when the first bridge over this river was built.
If it rains tomorrow, the match will be played on Sunday instead.
The committee published its report in June and asked the public for comments.
He opened the door, looked around the room, and quietly sat down beside the window.
Water boils at a lower temperature at high altitude because the pressure of the air is lower.
The company said that it would hire about two hundred people over the next three years.
"I don't think that's a good idea," said Anna, "but we can try it anyway."
Please read the instructions carefully before you connect the device to the power supply.
A small number of patients reported headaches, which went away after a few hours.
The museum is open every day from nine to five, except on public holidays.
Most of the energy that reaches the surface of the planet is radiated back into space.
They have been living in the same house for more than thirty years.
You can find more information on our website or by calling the number below.
The price of oil fell sharply after the announcement, and shares recovered most of their losses.
In mathematics, a prime number is a natural number greater than one that has no divisors but one and itself.
My grandmother used to tell us stories about the village where she grew up.
The court ruled that the agreement was not valid, since it had never been signed.
Thank you for your help; I really appreciate it.
What time does the last train to the airport leave tonight?
Children under the age of twelve must be accompanied by an adult.
The results suggest that sleep plays an important role in memory.
Although the team lost the first game, it went on to win the championship.
The castle stands on a hill above the town and can be seen from far away.
Stir the mixture until the sugar has dissolved, then add the flour and the eggs.
There is no evidence that the new method is better than the old one.
The government announced a plan to reduce taxes for small businesses.
It was the best of times for some, and the worst of times for many others.
Engineers tested the engine under different conditions for several months.
Every citizen has the right to vote, to speak freely and to leave the country.
The film tells the story of two brothers who meet again after a long war.
Birds that live near the coast often nest on cliffs where few animals can reach them.
I have never seen anything like this in my whole life!
The university offers courses in history, physics, computer science and music.
Their second album sold over a million copies in less than a year.
Could you tell me how to get to the nearest post office?
The doctor recommended regular exercise and a diet with less salt.
As of 2021, the population of the city was 482,310, up 3.7% from ten years before.
The model was trained on a large amount of text from the internet.
Once upon a time there was a king who had three daughters.
Trade between the two countries has doubled since the treaty came into force.
The function returns the number of items in the list.
Heavy snow closed several roads in the north, and hundreds of flights were cancelled.
Light travels faster than sound, so we see the lightning before we hear the thunder.
He wrote his first novel at the age of nineteen, while he was working in a factory.
The best way to learn a language is to speak it every day.
These figures do not include people who work part time.
Keep this medicine out of the reach of children.
"""

_CODE = (
    "def add(a, b):\n    return a + b\n",
    "import numpy as np\n\nx = np.zeros((3, 4), dtype=np.float32)\n",
    "for i in range(len(items)):\n    print(i, items[i])\n",
    "class Node:\n    def __init__(self, value):\n        self.value = value\n        self.next = None\n",
    "if (x > 0 && y < 10) {\n    return x * y;\n} else {\n    throw new Error('out of range');\n}\n",
    'public static void main(String[] args) {\n    System.out.println("Hello, world!");\n}\n',
    '#include <stdio.h>\n\nint main(void) {\n    printf("%d\\n", 42);\n    return 0;\n}\n',
    "SELECT name, COUNT(*) FROM users WHERE active = 1 GROUP BY name ORDER BY 2 DESC LIMIT 10;",
    "const response = await fetch(`/api/users/${id}`, { method: 'POST' });",
    "function sum(values) {\n  return values.reduce((total, value) => total + value, 0);\n}\n",
    '{"id": 17, "name": "example", "tags": ["red", "green"], "price": 12.5, "valid": true}',
    '<ul>\n  <li><a href="index.html">Home</a></li>\n  <li>About</li>\n</ul>\n',
    "body { margin: 0 auto; max-width: 60em; font-family: sans-serif; }",
    'git commit -m "Fix the build" && git push origin main',
    "$ grep -rn 'error' logs/ | sort | uniq -c | head -20",
    "try:\n    data = json.load(file)\nexcept ValueError as error:\n    raise SystemExit(f'bad file: {error}')\n",
    'fn main() {\n    let mut total: u64 = 0;\n    for n in 1..=100 { total += n; }\n    println!("{}", total);\n}\n',
    "# Installation\n\n1. Run `pip install example`.\n2. See [the docs](https://example.com/docs).\n",
    "name: test\non: [push]\njobs:\n  build:\n    runs-on: ubuntu-latest\n",
    "2024-01-15 10:32:07,184 INFO  server started on port 8080",
)


def plain_lines() -> tuple[str, ...]:
    """50 sentences of English and 20 pieces of code."""
    return (*_ENGLISH.strip().splitlines(), *_CODE)
