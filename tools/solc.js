#!/usr/bin/env node
// The npm (WebAssembly) Solidity compiler behind the command line of the native one.
//
// Ape's Solidity plugin calls an executable `solc` with `--version` or with
// `--standard-json`, JSON on standard input and JSON on standard output. npm's
// `solcjs` comes close, but prints a `>>>` line before the JSON, knows no
// `--allow-paths`, and calls process.exit() right after writing, which cuts
// piped output short. Hence this small program.
//
// Imports are looked up under --base-path, then each --include-path, then the
// project that holds this file: Ape compiles in a copy of the project that has
// no node_modules. What Solidity sees as the name of a source unit stays the
// relative path, so no machine's folders reach the metadata or the bytecode.
//
// Unless the input says otherwise, the metadata hash is left out of the bytecode
// (as in the official PoolManager): it would change with every comment and with the
// set of files compiled together, and with it every CREATE2 address.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const PROJECT = path.dirname(__dirname);
const VALUE_OPTIONS = new Set(["--base-path", "--include-path", "--allow-paths"]);

function parse(argv) {
  const options = { version: false, standardJson: false, roots: [] };
  for (let i = 0; i < argv.length; i++) {
    const [name, inline] = argv[i].split(/=(.*)/s, 2);
    if (name === "--version") options.version = true;
    else if (name === "--standard-json") options.standardJson = true;
    else if (VALUE_OPTIONS.has(name)) {
      const value = inline !== undefined ? inline : argv[++i];
      if (value === undefined) fail(`option '${name}' needs a value`);
      // Every root is readable here, so --allow-paths has nothing to add.
      if (name !== "--allow-paths") options.roots.push(value);
    } else if (name !== "-") fail(`unrecognised option '${name}'`);
  }
  options.roots.push(PROJECT);
  return options;
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

function importer(roots) {
  return (unit) => {
    for (const root of roots) {
      const file = path.join(root, unit);
      try {
        return { contents: fs.readFileSync(file, "utf8") };
      } catch (error) {
        if (error.code !== "ENOENT" && error.code !== "ENOTDIR" && error.code !== "EISDIR") {
          return { error: `cannot read ${unit}: ${error.message}` };
        }
      }
    }
    return { error: "File not found. Run `make setup` if it is in node_modules." };
  };
}

function withoutMetadataHash(text) {
  const input = JSON.parse(text);
  input.settings = { metadata: { bytecodeHash: "none" }, ...input.settings };
  return JSON.stringify(input);
}

function main() {
  const options = parse(process.argv.slice(2));
  // Ours by path, so that neither the working directory nor NODE_PATH decides the compiler.
  const solc = require(path.join(PROJECT, "node_modules", "solc"));
  if (options.version) {
    process.stdout.write(`solc, the Solidity compiler\nVersion: ${solc.version()}\n`);
  } else if (options.standardJson) {
    const input = withoutMetadataHash(fs.readFileSync(0, "utf8"));
    // No process.exit: node ends by itself once the pipe has taken everything.
    process.stdout.write(solc.compile(input, { import: importer(options.roots) }));
  } else {
    fail("give --version or --standard-json");
  }
}

main();
