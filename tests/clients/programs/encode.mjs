// node encode.mjs MODULE FOLDER TEXTS IDS: load the tokenizer in FOLDER, encode the strings in TEXTS, write IDS.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [module, folder, texts, ids] = process.argv.slice(2);
const { Tokenizer } = await import(pathToFileURL(module).href);
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const tokenizer = new Tokenizer(read(join(folder, "tokenizer.json")), read(join(folder, "tokenizer_config.json")));
const encoded = read(texts).map((text) => tokenizer.encode(text, { add_special_tokens: false }).ids);
writeFileSync(ids, JSON.stringify(encoded));
