"""Compiled contracts: current, complete, the same on every machine; and what is said if not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workbench.core.errors import NotCompiled, ToolMissing
from workbench.core.facts import Event
from workbench.evm.build import artifacts, compile, toolchain
from workbench.evm.build.artifacts import INTERFACES, Artifact, interface, load, names, project_root
from workbench.evm.deploy.plan import CONTRACTS

ROOT = project_root()


def solc(input_json: dict[str, Any], base_path: Path) -> dict[str, Any]:
    """Our compiler's command line, as Ape's plugin uses it."""
    command = [toolchain.node_binary(), ROOT / "tools" / "solc.js", "--standard-json"]
    done = subprocess.run(
        [*map(str, command), "--base-path", str(base_path), "--allow-paths", "."],
        input=json.dumps(input_json),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def input_of(name: str, base: Path) -> dict[str, Any]:
    return {
        "language": "Solidity",
        "sources": {
            f"contracts/{name}.sol": {"content": (base / f"{name}.sol").read_text(encoding="utf-8")}
        },
        "settings": {
            "evmVersion": "cancun",
            "optimizer": {"enabled": True, "runs": 200},
            "remappings": [
                "@openzeppelin/contracts=node_modules/@openzeppelin/contracts",
                "@uniswap/v4-core=node_modules/@uniswap/v4-core",
            ],
            "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "metadata"]}},
        },
    }


def test_the_artifacts_are_those_of_the_sources() -> None:
    assert compile.is_current(), "run `make compile`"


@pytest.mark.parametrize("name", [name for name in CONTRACTS if name != "PermitPuller"])
def test_every_contract_that_is_deployed_can_be_loaded(name: str) -> None:
    artifact = load(name)
    assert artifact.name == name
    assert len(artifact.bytecode) > 1000
    # PayoutBatcher has nothing to be told: no owner, no setting.
    told = any(entry["type"] == "constructor" for entry in artifact.abi)
    assert told == (name != "PayoutBatcher")
    assert name in names()


def test_an_interface_has_no_code() -> None:
    assert load("ISettlementVault").bytecode == b""


def test_loading_twice_reads_once() -> None:
    assert load("SettlementVault") is load("SettlementVault")


@pytest.mark.parametrize("name", ["NoSuchContract", "../../package", "a b"])
def test_an_unknown_contract_is_named(name: str) -> None:
    with pytest.raises(NotCompiled, match=re.escape(name)):
        load(name)


def test_a_missing_package_is_told_from_a_missing_compilation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "project_root", lambda: tmp_path)
    with pytest.raises(ToolMissing) as missing:
        load("PoolManager")
    assert "make setup" in missing.value.hint
    with pytest.raises(NotCompiled) as uncompiled:
        load("SettlementVault")
    assert "make compile" in uncompiled.value.hint


def test_a_broken_artifact_is_not_taken_for_a_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".cache" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "Broken.json").write_text('{"abi": []', encoding="utf-8")
    monkeypatch.setattr(artifacts, "project_root", lambda: tmp_path)
    with pytest.raises(NotCompiled, match="Broken"):
        load("Broken")


def test_the_pool_manager_is_the_packages_own() -> None:
    path = ROOT / "node_modules/@uniswap/v4-core/out/PoolManager.sol/PoolManager.json"
    code = json.loads(path.read_text(encoding="utf-8"))["bytecode"]["object"]
    assert load("PoolManager").bytecode == bytes.fromhex(code[2:])


@pytest.mark.parametrize("name", CONTRACTS)
def test_no_metadata_hash_is_in_the_code(name: str) -> None:
    # It would change with comments and with the set of files compiled together.
    assert b"ipfs" not in load(name).bytecode


def test_another_folder_gives_the_same_code(tmp_path: Path) -> None:
    elsewhere = tmp_path / "deep" / "elsewhere"
    shutil.copytree(ROOT / "contracts", elsewhere / "contracts")
    outputs = [
        solc(input_of("PermitPuller", base / "contracts"), base)["contracts"]
        for base in (ROOT, elsewhere)
    ]
    assert outputs[0] == outputs[1]
    code = outputs[0]["contracts/PermitPuller.sol"]["PermitPuller"]["evm"]["bytecode"]["object"]
    # And so does Ape, which compiles everything at once, in a folder of its own.
    assert bytes.fromhex(code) == load("PermitPuller").bytecode


def test_the_compiler_speaks_like_the_native_one() -> None:
    command = [str(toolchain.node_binary()), str(ROOT / "tools" / "solc.js")]
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert re.search(r"\d+\.\d+\.\d+\+commit\.\w+", said.stdout)
    refused = subprocess.run([*command, "--frob"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "unrecognised option '--frob'" in refused.stderr


def test_long_answers_of_the_compiler_arrive_whole() -> None:
    # More than a pipe holds: `solcjs` cuts it short.
    text = "\n".join(f"contract C{i} {{ uint public value{i}; }}" for i in range(400))
    answer = solc(
        {
            "language": "Solidity",
            "sources": {"A.sol": {"content": f"pragma solidity 0.8.30;\n{text}"}},
            "settings": {"outputSelection": {"*": {"*": ["abi"]}}},
        },
        ROOT,
    )
    assert len(answer["contracts"]["A.sol"]) == 400
    assert len(json.dumps(answer)) > 1 << 16


def test_a_missing_import_is_named() -> None:
    source = 'pragma solidity 0.8.30;\nimport "no/such/File.sol";'
    answer = solc({"language": "Solidity", "sources": {"A.sol": {"content": source}}}, ROOT)
    assert any("no/such/File.sol" in error["formattedMessage"] for error in answer["errors"])


def test_compiling_again_does_nothing() -> None:
    assert compile.is_current(), "run `make compile`"
    told: list[str] = []
    assert compile.compile_contracts(progress=told.append) is False
    assert "unchanged" in told[0]


def test_what_changes_the_code_changes_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("contracts", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("ape-config.yaml", "package-lock.json"):
        shutil.copy(ROOT / name, tmp_path / name)
    expected = compile.fingerprint()
    monkeypatch.setattr(compile, "project_root", lambda: tmp_path)
    assert compile.fingerprint() == expected
    for name in ("contracts/MockUSDC.sol", "ape-config.yaml", "tools/solc.js"):
        before = compile.fingerprint()
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        assert compile.fingerprint() != before, name


def test_the_compilers_words_reach_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "APE", "import sys; print('ParserError: here'); sys.exit(1)")
    with pytest.raises(NotCompiled, match="ParserError: here"):
        compile.compile_contracts(force=True)
    assert compile.is_current()


def test_a_wrong_root_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path))
    with pytest.raises(ToolMissing, match="WORKBENCH_ROOT"):
        project_root()
    monkeypatch.setenv("WORKBENCH_ROOT", str(ROOT))
    assert project_root() == ROOT


def test_one_compiler_version_everywhere() -> None:
    wanted = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["dependencies"]["solc"]
    assert re.search(
        rf"^  version: {re.escape(wanted)}$",
        (ROOT / "ape-config.yaml").read_text(encoding="utf-8"),
        re.M,
    )
    assert toolchain.npm_version("solc") == wanted


@pytest.mark.parametrize("name", INTERFACES)
def test_the_packaged_interface_is_that_of_the_compiled_contract(name: str) -> None:
    assert interface(name) == load(name).abi


def test_services_need_no_compiled_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every event and function that a service knows can be encoded without `make compile`."""

    def refused(name: str) -> Artifact:
        raise NotCompiled(f"{name} was asked for.")

    monkeypatch.setattr(artifacts, "load", refused)
    contracts = {kind.contract for kind in Event.kinds.values() if kind.contract}
    assert contracts <= set(INTERFACES)
    assert all(interface(name) for name in INTERFACES)
    with pytest.raises(NotCompiled, match="ISettlementVault was asked for"):
        interface("ISettlementVault")
