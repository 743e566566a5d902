"""Signatures of entries, by minisign: the manifest has the hash of every file, so to sign it is to sign all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlkeras.errors import MissingPackage, ZooError, reason
from tlkeras.files import parse_json, read_regular
from tlkeras.zoo.manifest import LARGEST_MANIFEST, MANIFEST, SIGNATURE, digest
from tlkeras.zoo.store import Entry

PASSWORD = "TLKERAS_MINISIGN_PASSWORD"  # of an encrypted key, where nobody can be asked
LARGEST_KEY = 10_000  # bytes of a file of a key


def _minisign() -> Any:
    try:
        import minisign
    except ImportError as error:
        raise MissingPackage(f"signatures need py-minisign, which cannot be imported ({error}); pip install 'tlkeras[sign]'") from error
    return minisign


def signer(key: str | Path, ask: Callable[[], str] | None = None) -> Callable[[bytes, str], bytes]:
    """Returns a function that signs: (content, `NAME/VERSION`) -> signature in minisign's format.

    Args:
        key: file of the secret key, as `minisign -G` writes it.
        ask: returns the password of an encrypted key, where the environment variable `TLKERAS_MINISIGN_PASSWORD` has none.

    Raises:
        MissingPackage: without py-minisign.
        ZooError: when the key cannot be read, or the password is wrong.
    """
    minisign = _minisign()
    try:
        secret = minisign.SecretKey.from_bytes(read_regular(Path(key), LARGEST_KEY))
        if secret.is_encrypted():
            password = os.environ.get(PASSWORD) or (ask() if ask else "")
            if not password:
                raise ZooError(f"the key {str(key)!r} is encrypted; set {PASSWORD} to its password")
            secret.decrypt(password)
    except (minisign.Error, OSError) as error:
        raise ZooError(f"cannot sign with {str(key)!r}: {reason(error)}; expected a secret key of minisign (minisign -G)") from error
    return lambda content, entry: bytes(secret.sign(content, trusted_comment=f"tlkeras {entry}"))


def check_signature(entry: Entry, key: str | Path) -> str:
    """Checks who published an entry; returns the comment that was signed with it.

    Args:
        entry: whose files are compared with the manifest by `verify_files`.
        key: public key of the publisher: a file, or the line of base64 itself.

    Raises:
        MissingPackage: without py-minisign.
        ZooError: when the entry has no signature, or it is another one's, or of another entry.
    """
    minisign = _minisign()
    path = entry.path / SIGNATURE
    if path.is_symlink() or not path.is_file():
        raise ZooError(f"{entry} has no signature ({SIGNATURE}); its publisher adds one with `tlkeras zoo publish --sign KEY`")
    try:
        text = str(key)
        public = (
            minisign.PublicKey.from_bytes(read_regular(Path(key), LARGEST_KEY))
            if Path(key).is_file()
            else minisign.PublicKey.from_base64(text)
        )
    except (minisign.Error, OSError, ValueError) as error:
        raise ZooError(
            f"cannot read the public key {str(key)!r}: {reason(error)}; expected a file of minisign, or its second line"
        ) from error
    try:
        signature = minisign.Signature.from_bytes(read_regular(path, LARGEST_KEY))
        content = read_regular(entry.path / MANIFEST, LARGEST_MANIFEST)
        public.verify(content, signature)
    except (minisign.Error, OSError) as error:
        raise ZooError(f"the signature of {entry} does not belong to its manifest and this key: {reason(error)}; do not use it") from error
    comment = str(signature.trusted_comment)
    if comment != f"tlkeras {entry}":
        raise ZooError(f"the signature in {entry} was made for {comment!r}; it was copied from another entry; do not use it")
    if digest(parse_json(content)) != digest(entry.manifest):
        raise ZooError(f"the manifest of {entry} has changed since it was read; try again")
    return comment
