// The operators' page, in words: durations, amounts, and the sentence at the top. Nothing here touches the document.

const plural = (count, one, many = one + "s") => `${amount(count)} ${count === 1 ? one : many}`;

function amount(number) {
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });
}

/** A length of time, as people say it. */
function span(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

/** How long ago a moment was; by the second, so that it does not flicker. */
function ago(now, time) {
  const ms = now - Date.parse(time);
  return ms < 1000 ? "just now" : `${span(Math.floor(ms / 1000) * 1000).replace(".0 s", " s")} ago`;
}

/** Minutes and seconds of audio. */
function length(ms) {
  const s = Math.round(ms / 1000);
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

function size(bytes) {
  if (bytes === 0) return "empty";
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function decibels(level) {
  if (level === null) return "no level";
  return level <= -90 ? "silent" : `${String(Math.round(level)).replace("-", "−")} dBFS`;
}

function kilohertz(rate) {
  return `${rate / 1000} kHz`;
}

/** Why a session ended, where the word in the record is ours; Exotel's own words stand for themselves. */
const REASONS = {
  stop: "stop: the caller's side ended it",
  end: "end: the client ended it",
  disconnected: "disconnected: the connection broke, and nobody took the call up again",
  idle_timeout: "idle_timeout: nothing came for too long",
  max_duration: "max_duration: it lasted as long as a call may",
  restarted: "restarted: its client began it anew",
  renamed: "renamed: its client went on under another id",
  shutdown: "shutdown: the service was stopped",
  bad_input: "bad_input: what came could not be read",
};

/** After so long without audio in any call, nothing is arriving. */
const STILL_AFTER_MS = 5000;

/** What is to be said first: `kind` changes rarely, `text` all the time. */
function summary(state, attempts, ended) {
  const { calls, frames_per_second: rate, silence_ms: silence } = state.totals;
  const live = `${plural(calls, "call")} live`;
  if (state.not_ready?.startsWith("draining")) {
    return { kind: "The service is shutting down.", text: `The service is shutting down and takes no new calls. ${live}.` };
  }
  if (calls > 0 && silence < STILL_AFTER_MS) {
    const text = `${live}, ${plural(Math.round(rate), "frame")} a second, newest ${span(silence)} ago.`;
    return { kind: "Audio is arriving.", text };
  }
  if (calls > 0) {
    const text = `${live}, but no audio has come for ${span(silence)}.`;
    return { kind: "No audio is arriving.", text, advice: "The connections stand, and nothing is sent on them: a paused stream, or a network that has gone silent." };
  }
  const last = attempts[0];
  const over = ended[0]?.end.timestamp_ms;
  if (!last) {
    const since = span(state.health.uptime_s * 1000);
    return {
      kind: "Nobody has tried to connect.",
      text: `Nobody has tried to connect since the start, ${since} ago.`,
      advice: "Compare the URL that Exotel or the client was given with this host. This finds out what is in the way:",
      command: `rtaa-ingest doctor --url ${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/ingest`,
    };
  }
  if (last.outcome === "refused") {
    const text = `Nothing is arriving. The last attempt to connect was refused ${ago(state.now, last.time)}.`;
    return { kind: "Nothing is arriving: the last attempt was refused.", text, advice: last.reason };
  }
  if (over > Date.parse(last.time)) {
    return { kind: "No call is live.", text: `No call is live. The last one ended ${ago(state.now, ended[0].ended)}.` };
  }
  const text = `No call is live. The last connection was let in ${ago(state.now, last.time)}, and no call has come of it yet.`;
  return { kind: "No call is live.", text };
}
