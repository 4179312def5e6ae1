"""The benchmark: vocabopt against sentencepiece and tokenizers, on the same text, in one run (`python -m bench`).

__main__   options, and what is printed
session    the order of work: warm-up, rounds of runs, checks
texts      the text: the Korean mix, or any other; its held-out split
scaled     five times as much of it
rows       what is measured: one command for each row, run in its own process
measure    running a command: wall time, CPU time and peak memory of the whole process
work       what runs in those processes where it is not the vocabopt command: trainings, encodings
union      base pieces joined with a separately trained vocabulary, as the paper and Chinese-LLaMA do it
results    medians, ratios and aims; JSON, terminal and Markdown
"""
