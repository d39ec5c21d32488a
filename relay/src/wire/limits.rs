//! How long and how many things on the wire may be, checked before anything is believed.
//!
//! The configuration holds a node's own values to the same limits, so that what it sends passes at
//! its peers. Together they keep every frame that a node makes below [`MAX_MESSAGE_BYTES`].

/// Longest message of a control frame. The largest that is needed is a full list of versions, 56 KiB.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes before the message of a control frame: its length (u32) and its type (u16).
pub const FRAME_HEAD_BYTES: usize = 6;

/// Longest packet that is carried, in one piece or several. A whole video frame of a low rate fits;
/// memory for pieces that wait for others stays small.
pub const MAX_PACKET_BYTES: usize = 16 * 1024;

/// Most pieces of one packet. With the smallest datagram of QUIC (1,162 bytes at an MTU of 1,200)
/// 15 are needed; twice that leaves room, and keeps what one first piece can reserve below 1 KiB.
pub const MAX_PIECES: u8 = 32;

/// Most hops that a packet may still have to go, and most nodes that a relayed frame has passed.
/// Paths have at most three links.
pub const MAX_HOPS: usize = 3;

/// Longest signed advert, with its signature and certificates.
pub const MAX_SIGNED_BYTES: usize = 40 * 1024;

/// Longest statement that is signed. The most that an advert can say is about 22 KiB.
pub const MAX_STATEMENT_BYTES: usize = 28 * 1024;

/// Most certificates beside a signature; links take one more.
pub const MAX_CHAIN_CERTIFICATES: usize = 4;

/// Longest chain beside a signature. With Ed25519 a certificate is about 500 bytes, with RSA of
/// 4,096 bits four times that.
pub const MAX_CHAIN_BYTES: usize = 8 * 1024;

/// Longest signature: RSA of 8,192 bits.
pub const MAX_SIGNATURE_BYTES: usize = 1_024;

/// Most versions of adverts in one frame. At most 28 bytes each, they fill seven eighths of a
/// message.
pub const MAX_VERSIONS: usize = 2_048;

/// Longest body of a relayed frame. The largest is an `open_flow`, below 200 bytes; what this
/// build does not know is carried for others too, and may be larger.
pub const MAX_RELAYED_BYTES: usize = 4 * 1024;

/// Most addresses in a Hello. A dial races them, so that each more costs every dialer a handshake.
pub const MAX_ADDRESSES: usize = 16;

/// Longest address: a DNS name of 253 bytes, a colon and a port.
pub const MAX_ADDRESS_BYTES: usize = 259;

/// Most labels in a Hello.
pub const MAX_LABELS: usize = 32;

/// Longest name of a label.
pub const MAX_LABEL_NAME_BYTES: usize = 63;

/// Longest value of a label.
pub const MAX_LABEL_VALUE_BYTES: usize = 255;

/// Longest release: a hash in hexadecimal, and as much again for a prefix.
pub const MAX_RELEASE_BYTES: usize = 128;

/// Most services that a node exposes. At the longest names they fill two thirds of a message.
pub const MAX_SERVICES: usize = 512;

/// Longest name of a service.
pub const MAX_SERVICE_NAME_BYTES: usize = 63;

/// Longest text for people in a frame or a close. Longer ones are cut, not refused.
pub const MAX_TEXT_BYTES: usize = 200;

/// Tells whether `name` can name a service: 1 to [`MAX_SERVICE_NAME_BYTES`] letters, digits, `.`,
/// `-` and `_`.
pub fn is_service_name(name: &str) -> bool {
    is_name(name, MAX_SERVICE_NAME_BYTES)
}

/// Tells whether `name` can name a label: 1 to [`MAX_LABEL_NAME_BYTES`] letters, digits, `.`, `-`
/// and `_`.
pub fn is_label_name(name: &str) -> bool {
    is_name(name, MAX_LABEL_NAME_BYTES)
}

/// Tells whether `value` can be the value of a label: up to [`MAX_LABEL_VALUE_BYTES`] bytes without
/// control characters.
pub fn is_label_value(value: &str) -> bool {
    value.len() <= MAX_LABEL_VALUE_BYTES && !value.chars().any(char::is_control)
}

/// Tells whether `release` can name a release: 1 to [`MAX_RELEASE_BYTES`] visible ASCII characters.
pub fn is_release(release: &str) -> bool {
    (1..=MAX_RELEASE_BYTES).contains(&release.len())
        && release.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Tells whether `address` is of the form `host:port`: a DNS name, an IPv4 address or an IPv6
/// address in brackets, and a port that is not zero.
pub fn is_address(address: &str) -> bool {
    if address.len() > MAX_ADDRESS_BYTES {
        return false;
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let port_is_good = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_is_good = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(host, MAX_ADDRESS_BYTES),
    };
    port_is_good && host_is_good
}

/// Makes a text fit to be sent, or a peer's text fit to be shown: at most [`MAX_TEXT_BYTES`] long,
/// and with a `?` for each control character, which could forge lines of a log.
pub(super) fn clean_text(text: &str) -> String {
    let mut clean = String::new();
    for character in text.chars() {
        let character = if character.is_control() {
            '?'
        } else {
            character
        };
        if clean.len() + character.len_utf8() > MAX_TEXT_BYTES {
            break;
        }
        clean.push(character);
    }
    clean
}

fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_to_their_length_and_alphabet() {
        for (name, good) in [
            ("a".repeat(MAX_SERVICE_NAME_BYTES), true),
            ("a".repeat(MAX_SERVICE_NAME_BYTES + 1), false),
            ("rtp-in.1_B".to_owned(), true),
            (String::new(), false),
            ("a b".to_owned(), false),
            ("ä".to_owned(), false),
        ] {
            assert_eq!(is_service_name(&name), good, "{name:?}");
            assert_eq!(is_label_name(&name), good, "{name:?}");
        }
    }

    #[test]
    fn addresses_need_a_host_and_a_port_that_is_not_zero() {
        for good in [
            "fra-1.example.org:4433",
            "192.0.2.1:1",
            "[2001:db8::1]:65535",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            ":",
            ":4433",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "2001:db8::1:4433",
            "[host]:1",
            "ho st:1",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
        let longest = format!("{}:65535", "a".repeat(MAX_ADDRESS_BYTES - 6));
        assert!(is_address(&longest));
        assert!(!is_address(&format!("a{longest}")));
    }

    #[test]
    fn values_and_releases_are_held_to_their_length_and_alphabet() {
        assert!(is_label_value(""));
        assert!(is_label_value(&"x".repeat(MAX_LABEL_VALUE_BYTES)));
        assert!(!is_label_value(&"x".repeat(MAX_LABEL_VALUE_BYTES + 1)));
        assert!(!is_label_value("two\nlines"));
        assert!(is_release(&"x".repeat(MAX_RELEASE_BYTES)));
        assert!(!is_release(&"x".repeat(MAX_RELEASE_BYTES + 1)));
        assert!(!is_release(""));
        assert!(!is_release("a b"));
    }

    #[test]
    fn text_is_cut_between_characters_and_holds_no_control_characters() {
        assert_eq!(clean_text("one\r\nline\u{1b}"), "one??line?");
        assert_eq!(
            clean_text(&"x".repeat(MAX_TEXT_BYTES)).len(),
            MAX_TEXT_BYTES
        );
        let wide = "€".repeat(MAX_TEXT_BYTES);
        assert_eq!(clean_text(&wide).len(), MAX_TEXT_BYTES / 3 * 3);
    }
}
