# SPDX-License-Identifier: Apache-2.0
"""One sentence out of what the parser of a command line, or the disk, has to say."""

import errno
import re

#: What the types of options are called in a sentence.
_TYPES = {
    "NoneType": "null",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "Sequence": "a list",
    "tuple": "a list",
}

#: Numbers of the errors that are mended at a path, its permissions or the space on its disk.
_DISK_ERRORS = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EDQUOT,
    errno.EFBIG, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTEMPTY, errno.EIO, errno.ESTALE,
}  # fmt: skip


def of_parser(message: str) -> str:
    """Make a sentence, without its full stop, of what jsonargparse says about an option in up to twenty lines."""
    keys = list(re.finditer(r'Parser key "([^"]+)"', message))
    name = ".".join(key[1] for key in keys)
    # The innermost option is the one at fault; the values of those around it are all that was given to their classes.
    about = message[keys[-1].end() :] if keys else message
    if unknown := re.search(r"Option '([^']+)' is not accepted", about):
        return f"there is no option --{name}.{unknown[1]}"
    given = re.search(r"(?:Given value|Got value): (.*)", about)
    if not keys or given is None:
        return in_one_line(message).rstrip(".")
    kinds = re.findall(r"Expected an? (.+?)(?:\. |: |\n|$)", about)
    takes = dict.fromkeys(_type_name(kind) for kind in kinds if not kind.startswith("path but"))
    return f"--{name} cannot be {given[1]}: it takes {' or '.join(takes) or 'another value'}"


def _type_name(kind: str) -> str:
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", kind):
        return f"one of {choices[1]}"
    if kind.startswith("dot import path"):
        return "the name of a class"
    plain = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
    return _TYPES.get(plain, plain)


def is_of_disk(error: OSError) -> bool:
    """Tell whether an error is about a file, and not about a network, a process or a library that is not found."""
    if error.errno is None:  # raised by hand, as Anomalib does for a path that an option names
        return isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError)
    return error.filename is not None and error.errno in _DISK_ERRORS


def of_disk(error: OSError) -> str:
    """Make a sentence of an error of the file system."""
    place = f" ({error.filename})" if error.filename else ""
    reason = (error.strerror or in_one_line(str(error))).rstrip(".")
    return f"{reason}{place}: check the path, its permissions and the space on its disk."


def in_one_line(text: str) -> str:
    """Return ``text`` without its line breaks."""
    return " ".join(text.split())
