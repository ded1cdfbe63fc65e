from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from turnout.protocol.signing import Ed25519Verifier
from turnout.runtime.key_file import KeyFileError, load_signer, make_key


def test_key_that_was_made_is_loaded_again(tmp_path: Path) -> None:
    made = make_key(tmp_path / "domain.key")
    loaded = load_signer(tmp_path / "domain.key")
    assert loaded.public_key == made.public_key
    assert Ed25519Verifier().verify(made.public_key, b"payload", loaded.sign(b"payload"))


def test_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "domain.key"
    make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=r"can be read by others \(mode 0640\)"):
        load_signer(path)


def test_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "domain.key"
    before = make_key(path).public_key
    with pytest.raises(KeyFileError, match="never overwritten"):
        make_key(path)
    assert load_signer(path).public_key == before


def test_key_file_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"nothing\.key: No such file"):
        load_signer(tmp_path / "nothing.key")
    with pytest.raises(KeyFileError, match="No such file"):
        make_key(tmp_path / "nowhere" / "domain.key")
    (tmp_path / "text").write_text("not a key")
    (tmp_path / "text").chmod(0o600)
    with pytest.raises(KeyFileError, match="holds no private key"):
        load_signer(tmp_path / "text")
    with pytest.raises(KeyFileError):
        load_signer(tmp_path)


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "other.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="another kind than Ed25519"):
        load_signer(path)
