package source

import "fmt"

// Link types that are decoded (https://www.tcpdump.org/linktypes.html).
const (
	LinkNull     = 0
	LinkEthernet = 1
	LinkRawBSD   = 12 // raw IP as some systems number it
	LinkRawOBSD  = 14 // the same on OpenBSD
	LinkRaw      = 101
	LinkLoop     = 108
	LinkSLL      = 113
	LinkIPv4     = 228
	LinkIPv6     = 229
	LinkSLL2     = 276
)

// linkNames names link types, those that are decoded and the more common others.
var linkNames = map[uint32]string{
	LinkNull: "NULL", LinkEthernet: "ETHERNET", 6: "IEEE802_5", 7: "ARCNET_BSD", 8: "SLIP", 9: "PPP", 10: "FDDI",
	11: "ATM_RFC1483", LinkRawBSD: "RAW", LinkRawOBSD: "RAW", 50: "PPP_HDLC", 51: "PPP_ETHER", LinkRaw: "RAW", 104: "C_HDLC",
	105: "IEEE802_11", 107: "FRELAY", LinkLoop: "LOOP", LinkSLL: "LINUX_SLL", 117: "PFLOG",
	119: "IEEE802_11_PRISM", 127: "IEEE802_11_RADIOTAP", 129: "ARCNET_LINUX", 138: "APPLE_IP_OVER_IEEE1394",
	143: "DOCSIS", 147: "USER0", 148: "USER1", 149: "USER2", 150: "USER3", 163: "IEEE802_11_AVS",
	165: "BACNET_MS_TP", 166: "PPP_PPPD", 177: "LINUX_LAPD", 187: "BLUETOOTH_HCI_H4", 189: "USB_LINUX",
	192: "PPI", 195: "IEEE802_15_4_WITHFCS", 201: "BLUETOOTH_HCI_H4_WITH_PHDR", 203: "LAPD", 204: "PPP_WITH_DIR", 209: "IPMB_LINUX",
	220: "USB_LINUX_MMAPPED", 224: "FC_2", 225: "FC_2_WITH_FRAME_DELIMS", 226: "IPNET", 227: "CAN_SOCKETCAN", LinkIPv4: "IPV4", LinkIPv6: "IPV6",
	230: "IEEE802_15_4_NOFCS", 231: "DBUS", 239: "NFLOG", 240: "NETANALYZER", 242: "IPOIB", 247: "INFINIBAND",
	249: "USBPCAP", 251: "BLUETOOTH_LE_LL", 252: "WIRESHARK_UPPER_PDU", 253: "NETLINK", 254: "BLUETOOTH_LINUX_MONITOR", 256: "BLUETOOTH_LE_LL_WITH_PHDR",
	258: "PKTAP", 271: "VSOCK", 272: "NORDIC_BLE", LinkSLL2: "LINUX_SLL2", 277: "ZWAVE_TAP", 278: "OPENVIZSLA", 283: "IEEE802_15_4_TAP",
}

// LinkName names a link type.
func LinkName(l uint32) string {
	if n, ok := linkNames[l]; ok {
		return n
	}
	return fmt.Sprintf("LINKTYPE_%d", l)
}

// LinkRead tells whether packets of a link type are decoded.
func LinkRead(l uint32) bool {
	switch l {
	case LinkNull, LinkEthernet, LinkRawBSD, LinkRawOBSD, LinkRaw, LinkLoop, LinkSLL, LinkIPv4, LinkIPv6, LinkSLL2:
		return true
	}
	return false
}
