//! The 402 for people: what is sold, what it costs, and how a program pays. One page without a script or anything from elsewhere.

use bytes::Bytes;
use http::Response;
use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use protocol::{Network, Offer, print_decimal};

const HTML: &str = include_str!("page/page.html");
const CSS: &str = include_str!("page/page.css");
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// More of a caller's own words is not repeated.
const SHOWN_MAX_CHARS: usize = 300;

/// What the page is made of. Every text may be hostile: the URL is the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    /// The route's, or else the service's.
    pub(crate) description: Option<&'a str>,
    /// The offers of the challenge, in order of preference.
    pub(crate) offers: &'a [Offer],
    /// Why the payment that came was refused, in a sentence.
    pub(crate) refusal: Option<&'a str>,
    pub(crate) docs_url: Option<&'a str>,
    pub(crate) website: Option<&'a str>,
}

/// Whether the caller is a browser that shows pages to people.
pub(crate) fn wants_page(request: &HeaderMap) -> bool {
    let mut html = false;
    for value in request.get_all(ACCEPT) {
        let accept = value.as_bytes();
        let has = |name: &[u8]| accept.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name));
        if has(b"application/json") {
            return false;
        }
        html |= has(b"text/html");
    }
    html
}

/// Puts the page into a 402 whose headers stand. The offers stay in its `PAYMENT-REQUIRED`.
pub(crate) fn dress(mut response: Response<Bytes>, page: &Page<'_>) -> Response<Bytes> {
    *response.body_mut() = render(page);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.append(VARY, HeaderValue::from_static("Accept"));
    response
}

/// Renders the page.
pub(crate) fn render(page: &Page<'_>) -> Bytes {
    let price =
        page.offers.first().map(|offer| format!("${}", print_decimal(offer.amount_atomic, offer.asset_info.decimals)));
    let ways: String = page.offers.iter().map(way).collect();
    let html = fill(HTML, |name| match name {
        "css" => CSS.to_owned(),
        "price" => escape(price.as_deref().unwrap_or_default()),
        "title" => escape(page.description.map_or("This endpoint is paid for by the call", cut)),
        "method" => escape(cut(page.method)),
        "url" => escape(cut(page.url)),
        "note" => page
            .refusal
            .map(|why| format!("<p class=\"note\" role=\"status\">{}</p>\n", escape(why)))
            .unwrap_or_default(),
        "ways_title" => if page.offers.len() == 1 { "How it is paid" } else { "Any one of these pays" }.to_owned(),
        "ways" => ways.clone(),
        "js" => escape(&javascript(page)),
        "curl" => curl(page),
        "links" => links(page),
        _ => String::new(),
    });
    Bytes::from(html)
}

/// One pass over a template: what is put in is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut page = String::with_capacity(template.len() + CSS.len() + 2_048);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else { break };
        page.push_str(before);
        page.push_str(&value(name));
        rest = behind;
    }
    page.push_str(rest);
    page
}

fn way(offer: &Offer) -> String {
    let token = &offer.asset_info;
    format!(
        "<li><div class=\"way\"><strong>{} {}</strong><span>{}</span></div><dl><dt>Network</dt><dd><code>{}</code></dd>\
         <dt>Asset</dt><dd><code>{}</code></dd><dt>Paid to</dt><dd><code>{}</code></dd></dl></li>\n",
        print_decimal(offer.amount_atomic, token.decimals),
        escape(cut(&token.name)),
        network_name(offer.network()).unwrap_or("EVM chain"),
        offer.network(),
        token.asset.address,
        offer.payee,
    )
}

fn javascript(page: &Page<'_>) -> String {
    let url = serde_json::Value::from(cut(page.url)).to_string();
    let options = if page.method == "GET" {
        String::new()
    } else {
        format!(", {{ method: {} }}", serde_json::Value::from(cut(page.method)))
    };
    format!(
        "const client = registerExactEvmScheme(new x402Client(), {{ signer }});\n\
         const pay = wrapFetchWithPayment(fetch, client);\n\
         const answer = await pay({url}{options});"
    )
}

/// Already escaped: its comments are marked.
fn curl(page: &Page<'_>) -> String {
    let quoted = format!("'{}'", cut(page.url).replace('\'', "'\\''"));
    let method =
        if page.method == "GET" { String::new() } else { format!("-X '{}' ", cut(page.method).replace('\'', "'\\''")) };
    let (url, method) = (escape(&quoted), escape(&method));
    format!(
        "<i># the price, in a header</i>\ncurl -i {method}{url}\n<i># the call, with the signed payment</i>\n\
         curl -H \"PAYMENT-SIGNATURE: $PAYMENT\" {method}\\\n  {url}"
    )
}

fn links(page: &Page<'_>) -> String {
    let link = |(url, text): (Option<&str>, &str)| {
        // Anything else could run in the reader's browser.
        let url = url.filter(|url| url.starts_with("https://") || url.starts_with("http://"))?;
        Some(format!("<a href=\"{}\" rel=\"noopener noreferrer\">{text}</a>", escape(url)))
    };
    [(page.docs_url, "Documentation"), (page.website, "Website")].into_iter().filter_map(link).collect()
}

/// What people call a network.
fn network_name(network: Network) -> Option<&'static str> {
    const NAMES: [(u64, &str); 14] = [
        (1, "Ethereum"),
        (137, "Polygon"),
        (143, "Monad"),
        (1_328, "Sei Testnet"),
        (1_329, "Sei"),
        (8_453, "Base"),
        (42_161, "Arbitrum One"),
        (42_220, "Celo"),
        (43_113, "Avalanche Fuji"),
        (43_114, "Avalanche"),
        (84_532, "Base Sepolia (test)"),
        (421_614, "Arbitrum Sepolia (test)"),
        (11_142_220, "Celo Sepolia (test)"),
        (11_155_111, "Sepolia (test)"),
    ];
    NAMES.iter().find(|(chain_id, _)| *chain_id == network.chain_id).map(|(_, name)| *name)
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(SHOWN_MAX_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

/// Text as HTML, between tags and between double quotes.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Would turn the words around them, or show nothing.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{AssetInfo, Payee};

    fn offers() -> Vec<Offer> {
        let payee: Payee = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap();
        let offer = |chain_id| Offer {
            asset_info: AssetInfo::usdc(Network { chain_id }).unwrap(),
            amount_atomic: 10_000,
            payee,
            max_timeout_s: 60,
            extra: protocol::OfferExtra::default(),
        };
        vec![offer(8453), offer(84532)]
    }

    fn page<'a>(url: &'a str, offers: &'a [Offer]) -> Page<'a> {
        let description = Some("Weather for the next seven days, by the hour");
        let docs_url = Some("https://docs.example.com");
        Page { method: "GET", url, description, offers, refusal: None, docs_url, website: Some("https://example.com") }
    }

    fn text(page: &Page<'_>) -> String {
        String::from_utf8(render(page).to_vec()).unwrap()
    }

    #[test]
    fn g_054_the_page_names_the_price() {
        let offers = offers();
        let html = text(&page("https://api.example.com/v1/weather?city=Oslo", &offers));
        for part in [
            "Payment Required",
            "$0.01 <small>per call",
            "Weather for the next",
            "0.01 USD Coin",
            "0.01 USDC",
            "Base Sepolia",
            "eip155:8453",
            "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
            "0x209693Bc6afc0C5328bA36FaF03C514EF312287C",
            "PAYMENT-SIGNATURE",
            "@x402/fetch",
            "href=\"https://docs.example.com\"",
            "href=\"https://example.com\"",
            "weather?city=Oslo",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("{{") && !html.contains("<script") && !html.contains(" src="));
    }

    #[test]
    fn nothing_that_is_put_in_gets_out() {
        let offers = offers();
        let evil = "http://h/\"><script>alert(1)</script>'{{css}}$(id)`id`\u{202e}&amp;\u{7}";
        let mut page = page(evil, &offers);
        page.description = Some(evil);
        page.refusal = Some(evil);
        page.method = "<b>";
        page.docs_url = Some("javascript:alert(1)");
        page.website = Some("https://x/\"onclick=\"alert(1)");
        let html = text(&page);
        for part in ["<script", "<b>", "javascript:", "\"onclick", "\u{202e}", "\u{7}"] {
            assert!(!html.contains(part), "{part:?} in {html}");
        }
        assert_eq!(html.matches(":root {").count(), 2, "a template's word in a value is text");
        assert!(html.contains("&#39;\\&#39;&#39;{{css}}"), "quotes in the shell's example are closed: {html}");
        let long = "x".repeat(10_000);
        page.url = &long;
        assert!(text(&page).len() < 12_000);
    }

    #[test]
    fn accept_table() {
        for (accept, want) in [
            (&["text/html,application/xhtml+xml,*/*;q=0.8"][..], true),
            (&["TEXT/HTML"], true),
            (&["text/html, application/json"], false),
            (&["text/html", "application/json"], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(wants_page(&headers), want, "{accept:?}");
        }
    }

    #[test]
    fn the_headers_of_the_402_stand() {
        let offers = offers();
        let mut challenge = Response::new(Bytes::from_static(b"{}"));
        challenge.headers_mut().insert("payment-required", HeaderValue::from_static("abc"));
        let response = dress(challenge, &page("http://h/", &offers));
        assert_eq!(response.headers()["payment-required"], "abc");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
    }
}
