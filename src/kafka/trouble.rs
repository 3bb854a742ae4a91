//! Why a connection to the brokers fails, in words that say what to do.
//!
//! librdkafka's error codes only say that a connection failed, and its texts name OpenSSL's functions and source lines.
//! The causes that people meet are distinguished by what is constant in these texts.

use std::fmt;

use rdkafka::types::RDKafkaErrorCode;

/// Why a connection fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The brokers don't take the user or the password.
    Credentials,
    /// The listener has other SASL mechanisms.
    Mechanism,
    /// The brokers' certificate comes from an authority that the client doesn't know.
    Untrusted,
    /// The brokers' certificate is for another host.
    OtherHost,
    /// The brokers ask for a client certificate.
    NoCertificate,
    /// The brokers don't take the client's certificate.
    CertificateRefused,
    /// The client speaks plaintext, the listener something else.
    NotPlaintext,
    /// The client speaks TLS, the listener doesn't.
    NotTls,
    /// Nothing listens there.
    NobodyThere,
    /// The name has no address.
    UnknownHost,
    /// Something else, in librdkafka's words, which may be empty.
    Other(String),
}

impl Trouble {
    /// Reads what librdkafka says; `None` if it says only that all brokers are down, which is no cause.
    pub(crate) fn read(code: Option<RDKafkaErrorCode>, words: &str) -> Option<Trouble> {
        let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        Some(match code {
            Some(RDKafkaErrorCode::AllBrokersDown) => return None,
            Some(RDKafkaErrorCode::Resolve) => Trouble::UnknownHost,
            _ if has(&["Unsupported SASL mechanism", "not supported by broker"]) => Trouble::Mechanism,
            Some(RDKafkaErrorCode::Authentication) => Trouble::Credentials,
            _ if has(&["hostname mismatch", "IP address mismatch"]) => Trouble::OtherHost,
            _ if has(&["certificate verify failed"]) => Trouble::Untrusted,
            // The alerts that a listener sends to a client: RFC 8446, section 6.
            _ if has(&["certificate required", "certificate_required"]) => Trouble::NoCertificate,
            // Java sends this one also to a client that has shown none.
            _ if has(&["alert bad certificate", "alert unknown ca", "alert certificate"]) => {
                Trouble::CertificateRefused
            }
            // A TLS port takes the first request for a broken handshake, and hangs up.
            _ if has(&["APIVERSION_QUERY"]) && has(&["Disconnected"]) && !has(&["ssl://"]) => Trouble::NotPlaintext,
            _ if has(&["connecting to a PLAINTEXT broker listener", "wrong version number"]) => Trouble::NotTls,
            _ if has(&["Connection refused"]) => Trouble::NobodyThere,
            _ => Trouble::Other(words.to_owned()),
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Credentials => {
                "they don't take this user or password: correct sasl.username and sasl.password in kafka.properties, or \
                 create the user for this sasl.mechanism"
            }
            Trouble::Mechanism => {
                "this listener doesn't have this sasl.mechanism: set one that it has, such as SCRAM-SHA-512 or PLAIN"
            }
            Trouble::Untrusted => {
                "their certificate comes from an authority that isn't trusted here: let ssl.ca.location in \
                 kafka.properties name the PEM file of the authority that signed it"
            }
            Trouble::OtherHost => {
                "their certificate is for another host: name them in kafka.brokers as the certificate does, or have it \
                 made for this name"
            }
            Trouble::NoCertificate => {
                "they ask for a client certificate: let ssl.certificate.location and ssl.key.location in \
                 kafka.properties name the PEM files of one"
            }
            Trouble::CertificateRefused => {
                "they don't take the client certificate that ssl.certificate.location names: use one that is valid now \
                 and comes from an authority that they trust"
            }
            Trouble::NotPlaintext => {
                "they hang up at once, as a TLS port does with a plaintext client: set security.protocol in \
                 kafka.properties to ssl or sasl_ssl, or name the plaintext port"
            }
            Trouble::NotTls => {
                "this port doesn't speak TLS: name the TLS port in kafka.brokers, or set security.protocol in \
                 kafka.properties to plaintext or sasl_plaintext"
            }
            Trouble::NobodyThere => "nothing listens there: start them, or correct kafka.brokers",
            Trouble::UnknownHost => "the host name has no address: correct kafka.brokers",
            Trouble::Other(words) if words.is_empty() => "they are silent: check the address and the firewall between",
            Trouble::Other(words) => words,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_librdkafka_are_distinguished() {
        use RDKafkaErrorCode as Code;
        // As librdkafka 2.12.1 and OpenSSL 3 say it to Kafka 4.3.1.
        for (code, words, trouble) in [
            (Some(Code::AllBrokersDown), "1/1 brokers are down", None),
            (
                Some(Code::Authentication),
                "sasl_ssl://127.0.0.1:1/bootstrap: SASL authentication error: Authentication failed during \
                 authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512",
                Some(Trouble::Credentials),
            ),
            (
                Some(Code::SSL),
                "ssl://127.0.0.1:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify \
                 failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured",
                Some(Trouble::Untrusted),
            ),
            (
                Some(Code::SSL),
                "ssl://127.0.0.1:1/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: \
                 SSL alert number 42 (after 66ms in state APIVERSION_QUERY)",
                Some(Trouble::CertificateRefused),
            ),
            (
                None,
                "127.0.0.1:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms in \
                 state APIVERSION_QUERY)",
                Some(Trouble::NotPlaintext),
            ),
            (
                Some(Code::BrokerTransportFailure),
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
                Some(Trouble::NobodyThere),
            ),
            (None, "something else", Some(Trouble::Other("something else".into()))),
        ] {
            assert_eq!(Trouble::read(code, words), trouble, "{words}");
        }
    }
}
