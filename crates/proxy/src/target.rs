//! The origin that an upstream pool talks to.

use http::HeaderValue;
use http::uri::{Scheme, Uri};

/// An http or https origin: scheme, host and port, no path of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    https: bool,
    host: String,
    port: u16,
    authority: HeaderValue,
}

/// Why a text is not a target, in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetRefusal {
    /// Not an absolute URI at all.
    #[error("not an absolute URI such as http://127.0.0.1:8080")]
    NotUri,
    /// A scheme other than http and https.
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// No host, or port 0.
    #[error("the host or the port is missing")]
    NoHost,
    /// Credentials in the authority; they would be sent nowhere and leak into logs.
    #[error("the URI carries user information")]
    UserInfo,
    /// A path other than the empty one and `/`: the normalised path of the call is sent as it is, never joined.
    #[error("the URI has a path")]
    BasePath,
    /// A query or a fragment.
    #[error("the URI has a query or a fragment")]
    Query,
}

impl TargetRefusal {
    /// The stable code for messages about the configuration.
    pub fn code(&self) -> &'static str {
        match self {
            TargetRefusal::NotUri => "target_not_uri",
            TargetRefusal::Scheme => "target_scheme",
            TargetRefusal::NoHost => "target_no_host",
            TargetRefusal::UserInfo => "target_user_info",
            TargetRefusal::BasePath => "target_base_path",
            TargetRefusal::Query => "target_query",
        }
    }
}

impl Target {
    /// Reads `http://host[:port][/]` or the same with https. It resolves no name and connects nowhere.
    pub fn parse(text: &str) -> Result<Target, TargetRefusal> {
        let uri: Uri = text.parse().map_err(|_| TargetRefusal::NotUri)?;
        let scheme = uri.scheme().ok_or(TargetRefusal::NotUri)?;
        let https = *scheme == Scheme::HTTPS;
        if !https && *scheme != Scheme::HTTP {
            return Err(TargetRefusal::Scheme);
        }
        let authority = uri.authority().ok_or(TargetRefusal::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(TargetRefusal::UserInfo);
        }
        let default_port = if https { 443 } else { 80 };
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(authority.host()) => default_port,
            None => return Err(TargetRefusal::NoHost),
        };
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() || port == 0 {
            return Err(TargetRefusal::NoHost);
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(TargetRefusal::Query);
        }
        if !matches!(uri.path(), "" | "/") {
            return Err(TargetRefusal::BasePath);
        }
        let shown = match port == default_port {
            true => host.clone(),
            false => format!("{host}:{port}"),
        };
        Ok(Target {
            https,
            authority: HeaderValue::try_from(shown).map_err(|_| TargetRefusal::NoHost)?,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }

    /// Whether connections are TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host without the brackets of an IPv6 literal.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, also when it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What goes into `Host`: the port only when it is not the scheme's own.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        type Row = (&'static str, Result<(bool, &'static str, u16, &'static str), TargetRefusal>);
        let rows: &[Row] = &[
            ("http://a", Ok((false, "a", 80, "a"))),
            ("https://a/", Ok((true, "a", 443, "a"))),
            ("https://A.Example:8443", Ok((true, "a.example", 8443, "a.example:8443"))),
            ("http://a:80", Ok((false, "a", 80, "a"))),
            ("https://a:80", Ok((true, "a", 80, "a:80"))),
            ("http://127.0.0.1:1", Ok((false, "127.0.0.1", 1, "127.0.0.1:1"))),
            ("http://[::1]:9", Ok((false, "::1", 9, "[::1]:9"))),
            ("http://[::1]", Ok((false, "::1", 80, "[::1]"))),
            ("", Err(TargetRefusal::NotUri)),
            ("a:80", Err(TargetRefusal::NotUri)),
            ("/a", Err(TargetRefusal::NotUri)),
            ("http://", Err(TargetRefusal::NotUri)),
            ("ftp://a", Err(TargetRefusal::Scheme)),
            ("unix://a", Err(TargetRefusal::Scheme)),
            ("http://u:p@a", Err(TargetRefusal::UserInfo)),
            ("http://a:0", Err(TargetRefusal::NoHost)),
            ("http://a:65536", Err(TargetRefusal::NoHost)),
            ("http://a/v1", Err(TargetRefusal::BasePath)),
            ("http://a/?x", Err(TargetRefusal::Query)),
            ("http://a/#x", Err(TargetRefusal::Query)),
        ];
        for (text, expected) in rows {
            let got = Target::parse(text);
            let shown = got.as_ref().map_err(|refusal| *refusal).map(|target| {
                let authority = target.authority().to_str().expect("ascii");
                (target.is_https(), target.host(), target.port(), authority)
            });
            assert_eq!(shown, *expected, "{text}");
        }
    }
}
