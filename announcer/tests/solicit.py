"""Asks for addresses in ways of its own and judges the answers: scapy's idea of ARP and NDP against the announcer's.

usage: solicit.py MAC IPV4 IPV6      on eth0, with scapy on PYTHONPATH
"""

import logging
import sys
import time

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.arch import get_if_hwaddr  # noqa: E402
from scapy.config import conf  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.packet import Padding, Raw  # noqa: E402
from scapy.utils6 import in6_getnsma, in6_getnsmac  # noqa: E402
from scapy.pton_ntop import inet_ntop, inet_pton  # noqa: E402
import socket  # noqa: E402

VIP_MAC, VIP4, VIP6 = sys.argv[1].lower(), sys.argv[2], sys.argv[3]
MINE4, MINE6 = "192.0.2.200", "2001:db8::200"
NOBODY4, NOBODY6 = "192.0.2.250", "2001:db8::1:fa"
BROADCAST = "ff:ff:ff:ff:ff:ff"
ME = get_if_hwaddr("eth0")
GROUP = inet_ntop(socket.AF_INET6, in6_getnsma(inet_pton(socket.AF_INET6, VIP6)))
GROUP_MAC = in6_getnsmac(inet_pton(socket.AF_INET6, GROUP))
PATIENCE = 5.0

wire = conf.L2socket(iface="eth0")


def fail(case, what, frame=None):
    print(f"{case}: {what}")
    if frame is not None:
        frame.show2()
    sys.exit(1)


def answers(wanted):
    """The next answer of the kind, within our patience."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not wire.select([wire], remain=0.1):
            continue
        frame = wire.recv()
        if frame is not None and frame.src == VIP_MAC and wanted in frame:
            return frame
    return None


def arp(**fields):
    defaults = dict(op=1, hwsrc=ME, psrc=MINE4, hwdst="00:00:00:00:00:00", pdst=VIP4)
    return ARP(**(defaults | fields))


def ask_arp(case, frame, asker=MINE4):
    wire.send(frame)
    reply = answers(ARP)
    if reply is None:
        fail(case, "no answer")
    said = reply[ARP]
    expected = (2, VIP_MAC, VIP4, ME, asker)
    if (said.op, said.hwsrc, said.psrc, said.hwdst, said.pdst) != expected or reply.dst != ME:
        fail(case, f"expected {expected}", reply)
    print(f"{case}: answered")


def solicitation(source=MINE6, target=VIP6, hlim=255, options=None, header=None, **fields):
    packet = IPv6(src=source, dst=GROUP, hlim=hlim)
    if header is not None:
        packet = packet / header
    packet = packet / ICMPv6ND_NS(tgt=target, **fields)
    for option in [ICMPv6NDOptSrcLLAddr(lladdr=ME)] if options is None else options:
        packet = packet / option
    return Ether(src=ME, dst=GROUP_MAC) / packet


def ask_ndp(case, frame, to=MINE6, to_mac=None, solicited=1):
    wire.send(frame)
    reply = answers(ICMPv6ND_NA)
    if reply is None:
        fail(case, "no answer")
    said = reply[ICMPv6ND_NA]
    got = (reply.dst, reply[IPv6].src, reply[IPv6].dst, reply[IPv6].hlim, said.R, said.S, said.O, said.tgt)
    expected = (to_mac or ME, VIP6, to, 255, 0, solicited, 1, VIP6)
    if got != expected:
        fail(case, f"expected {expected}", reply)
    if ICMPv6NDOptDstLLAddr not in reply or reply[ICMPv6NDOptDstLLAddr].lladdr != VIP_MAC:
        fail(case, "no target link-layer address", reply)
    stated = said.cksum
    del said.cksum
    if Ether(bytes(reply))[ICMPv6ND_NA].cksum != stated:
        fail(case, "the checksum is wrong", reply)
    print(f"{case}: answered")


def silent(case, frames, question, kind):
    """Nothing of this is answered: the answer to the question after it is the first, and the only one."""
    for frame in frames:
        wire.send(frame)
    wire.send(question)
    if answers(kind) is None:
        fail(case, "not even the question after it was answered")
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        if wire.select([wire], remain=0.05):
            frame = wire.recv()
            if frame is not None and frame.src == VIP_MAC and kind in frame:
                fail(case, "answered", frame)
    print(f"{case}: not answered")


padded = Padding(b"\0" * 18)
ask_arp("request, padded as on a wire", Ether(src=ME, dst=BROADCAST) / arp() / padded)
ask_arp("request, unicast", Ether(src=ME, dst=VIP_MAC) / arp(hwdst=VIP_MAC))
ask_arp("request with rubbish as the target's MAC", Ether(src=ME, dst=BROADCAST) / arp(hwdst="de:ad:be:ef:00:01"))
ask_arp("probe", Ether(src=ME, dst=BROADCAST) / arp(psrc="0.0.0.0"), asker="0.0.0.0")
silent(
    "ARP that is not as it should be",
    [
        Ether(src=ME, dst=BROADCAST) / arp(hwlen=5),
        Ether(src=ME, dst=BROADCAST) / arp(plen=16),
        Ether(src=ME, dst=BROADCAST) / arp(hwtype=6),
        Ether(src=ME, dst=BROADCAST) / arp(ptype=0x86DD),
        Ether(src=ME, dst=BROADCAST) / arp(op=3),
        Ether(src=ME, dst=BROADCAST) / arp(hwsrc="01:00:5e:00:00:01"),
        Ether(src=ME, dst="02:00:00:00:00:99") / arp(),
        Ether(src=ME, dst=BROADCAST) / arp(pdst=NOBODY4),
        Ether(src=ME, dst=BROADCAST, type=0x0806) / Raw(bytes(arp())[:27]),
    ],
    Ether(src=ME, dst=BROADCAST) / arp(),
    ARP,
)

ask_ndp("solicitation", solicitation())
unicast = solicitation(options=[])
unicast.dst, unicast[IPv6].dst = VIP_MAC, VIP6
ask_ndp("solicitation, unicast, without an option", unicast)
ask_ndp("solicitation behind destination options", solicitation(header=IPv6ExtHdrDestOpt()))
everybody = dict(to="ff02::1", to_mac="33:33:00:00:00:01", solicited=0)
ask_ndp("duplicate address probe", solicitation(source="::", options=[]), **everybody)
nonce = ICMPv6NDOptUnknown(type=14, len=1, data=b"\1\2\3\4\5\6")
ask_ndp("duplicate address probe with a nonce", solicitation(source="::", options=[nonce]), **everybody)
silent(
    "NDP that is not as it should be",
    [
        solicitation(hlim=254),
        solicitation(cksum=0x1234),
        solicitation(code=1),
        solicitation(source="::"),
        solicitation(target=NOBODY6),
        solicitation(target="ff02::1"),
        solicitation(options=[ICMPv6NDOptUnknown(type=1, len=0, data=b"")]),
        solicitation(header=IPv6ExtHdrFragment()),
        Ether(src=ME, dst=GROUP_MAC) / Raw(bytes(solicitation()[IPv6])[:60]),
    ],
    solicitation(),
    ICMPv6ND_NA,
)
