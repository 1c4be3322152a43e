"""All attacks, by category."""

from attacks.attack import Attack, in_category
from attacks.suite import (
    artifacts,
    authority,
    disclosure,
    files,
    frames,
    introspection,
    kernel,
    lifetime,
    mounts,
    network,
    residue,
    resources,
)

ATTACKS: list[Attack] = [
    *in_category("introspection", introspection.ATTACKS),
    *in_category("files", files.ATTACKS),
    *in_category("network", network.ATTACKS),
    *in_category("kernel surface", kernel.ATTACKS),
    *in_category("resources", resources.ATTACKS),
    *in_category("bridge authority", authority.ATTACKS),
    *in_category("frames", frames.ATTACKS),
    *in_category("artifacts", artifacts.ATTACKS),
    *in_category("mounts", mounts.ATTACKS),
    *in_category("lifetime", lifetime.ATTACKS),
    *in_category("residue", residue.ATTACKS),
    *in_category("disclosure", disclosure.ATTACKS),
]
