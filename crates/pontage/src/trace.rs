//! Traces over OTLP/HTTP: what a call did and how long, for whoever set `telemetry.otlp_url`. Without it nothing is made and nothing
//! costs. A span names its payment and never a credential, a query or a header.

use std::time::Duration;

use anyhow::Context as _;
use http::HeaderMap;
use ledger::HoldId;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};

use crate::telemetry::{Finished, MoneyOutcome};

/// Spans that may wait to be sent; further ones are dropped.
const WAITING_MAX: usize = 4_096;
const BATCH_MAX: usize = 512;
const EVERY: Duration = Duration::from_secs(2);
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stop waits for the last spans.
const END_WAIT: Duration = Duration::from_secs(3);

/// The way to the collector, if there is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traces(Option<Exporting>);

#[derive(Clone, Debug)]
struct Exporting {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// One call's trace. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallTrace(Option<(SdkTracer, Context)>);

/// A part of a call, until it is dropped.
#[derive(Debug)]
pub(crate) struct Step(Option<Context>);

impl Traces {
    /// Starts exporting, where a URL is given. Not to be called inside a runtime.
    pub(crate) fn start(url: Option<&str>) -> anyhow::Result<Self> {
        let Some(url) = url else { return Ok(Self::default()) };
        let exporter = SpanExporter::builder().with_http().with_endpoint(url).with_timeout(SEND_TIMEOUT).build();
        let exporter = exporter.context("telemetry.otlp_url")?;
        let limits = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(EVERY)
            .build();
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "pontage"),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(limits).build())
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("pontage");
        Ok(Self(Some(Exporting { provider, tracer })))
    }

    /// The trace of a call that arrived: a part of its caller's, where he has one.
    pub(crate) fn call(&self, method: &str, path: &str, request: &HeaderMap) -> CallTrace {
        let Some(Exporting { tracer, .. }) = &self.0 else { return CallTrace::default() };
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(request));
        let builder = tracer.span_builder("call").with_kind(SpanKind::Server).with_attributes([
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("url.path", path.to_owned()),
        ]);
        let span = builder.start_with_context(tracer, &parent);
        CallTrace(Some((tracer.clone(), parent.with_span(span))))
    }

    /// Sends what is left. Not to be called inside a runtime.
    pub(crate) fn end(&self) {
        if let Some(Exporting { provider, .. }) = &self.0 {
            // Whoever does not listen at the end has lost the last spans; that stops nothing.
            provider.shutdown_with_timeout(END_WAIT).ok();
        }
    }
}

impl CallTrace {
    /// Begins a part: `open`, `upstream`, `close` or `settle`.
    pub(crate) fn step(&self, name: &'static str) -> Step {
        let Some((tracer, context)) = &self.0 else { return Step(None) };
        let kind = if name == "upstream" { SpanKind::Client } else { SpanKind::Internal };
        let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, context);
        Step(Some(context.with_span(span)))
    }

    /// Names the payment.
    pub(crate) fn payment(&self, hold: HoldId) {
        if let Some((_, context)) = &self.0 {
            context.span().set_attribute(KeyValue::new("pontage.payment", hold.to_string()));
        }
    }

    /// Says how the call ended, and ends it. Parts that are still running follow it.
    pub(crate) fn finished(&self, call: &Finished<'_>) {
        let Some((_, context)) = &self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(call.status)));
        span.set_attribute(KeyValue::new("pontage.outcome", call.outcome.code()));
        let texts = [
            ("http.route", call.route.map(str::to_owned)),
            ("pontage.reason", call.reason.map(str::to_owned)),
            ("pontage.payment", call.hold.map(|hold| hold.to_string())),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                span.set_attribute(KeyValue::new(name, text));
            }
        }
        if matches!(call.outcome, MoneyOutcome::Fault | MoneyOutcome::OwedBack) || call.status >= 500 {
            span.set_status(Status::error(call.reason.unwrap_or(call.outcome.code())));
        }
        span.end();
    }
}

impl Step {
    /// Tells the upstream which trace this is. Without traces, what the caller sent goes on as it came.
    pub(crate) fn propagate(&self, headers: &mut HeaderMap) {
        if let Some(context) = &self.0 {
            TraceContextPropagator::new().inject_context(context, &mut HeaderInjector(headers));
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

#[cfg(test)]
mod tests;
