// The operators' page, at work: listens while it is in view, and shows what it is told. Three kinds of events come:
// `handshakes` and `ended` when there is news of them, and `state` twice a second, after these; only then is it drawn.

const SHOWN_MAX = 50;
/** Two events that fail to come are chance, ten are not. */
const SILENT_AFTER_MS = 5000;
const AGAIN_AFTER_MS = 3000;
/** A screen reader is to be told what changes, not to be talked over. */
const NEWS_EVERY_MS = 10000;

const told = { attempts: [], ended: [], state: null };
let source = null;
let heardAt = 0;
let lostAt = null;
let again = null;
let why = "";

const calls = new Rows(
  "calls",
  () => [
    new Cell("", "wide id"),
    new SoundCell("Sound, last 5 s"),
    new Cell("Frames/s", "number"),
    new Cell("Frames", "number"),
    new Cell("Gaps", "number"),
    new Cell("Not durable", "number"),
    new Cell("Newest audio", "number"),
  ],
  ([id, sound, rate, frames, gaps, pending, newest], call) => {
    const kind = [call.tenant_id, call.dialect, call.sample_rate ? kilohertz(call.sample_rate) : "no audio yet"];
    if (call.connections === 0) kind.push("waits for a reconnect");
    const other = call.rate_mismatch;
    if (other) kind.push(`⚠ its audio arrives at the pace of ${kilohertz(other)}: declare that rate, or send at the declared one`);
    id.show(call.interaction_id, { note: kind.join(" · "), noteTone: other ? "warn" : "" });
    sound.show(call.level_dbfs, call.peaks_dbfs);
    rate.show(call.frames_per_second.toFixed(1));
    frames.show(amount(call.frames));
    gaps.show(amount(call.gaps), { tone: call.gaps ? "bad" : "" });
    const second = Math.max(50, call.frames_per_second);
    const behind = call.not_durable > second;
    pending.show(amount(call.not_durable), { note: behind ? "⚠ slow" : "", noteTone: "warn" });
    const still = call.silence_ms > STILL_AFTER_MS;
    newest.show(`${span(call.silence_ms)} ago`, { note: still ? "⚠ still" : "", noteTone: "warn" });
  },
);

const attempts = new Rows(
  "attempts",
  () => [new Cell("", "when"), new Cell(""), new Cell("", "wide"), new Cell("", "wide")],
  ([when, outcome, reason, who], one) => {
    const refused = one.outcome === "refused";
    when.show(ago(told.state.now, one.time), { note: clock(one.time), title: one.time });
    const label = refused ? `Refused, ${one.status}` : "Accepted";
    outcome.show(label, { note: one.error ?? one.protocol ?? "", tone: refused ? "bad" : "" });
    reason.show(one.reason ?? `as connection ${one.connection}`);
    who.show(one.client, { note: [one.path, one.user_agent].filter(Boolean).join(" · ") });
  },
);

const ended = new Rows(
  "ended",
  () => [new Cell("", "when"), new Cell("", "wide id"), new Cell("", "wide"), new Cell("Audio"), new Cell("Length", "number"), new Cell("Frames", "number")],
  ([when, id, reason, verdict, duration, frames], call) => {
    const end = call.end;
    when.show(ago(told.state.now, call.ended), { note: clock(call.ended), title: call.ended });
    id.show(call.interaction_id, { note: [call.tenant_id, call.dialect].join(" · ") });
    reason.show(REASONS[end.reason] ?? end.reason);
    if (end.frames === 0) verdict.show("✗ none", { tone: "bad", note: "no audio came" });
    else if (end.gaps > 0) verdict.show(`✗ ${plural(end.gaps, "gap")}`, { tone: "bad", note: "audio is missing" });
    else verdict.show("✓ no gap");
    duration.show(length(end.duration_ms));
    frames.show(amount(end.frames));
  },
);

const groups = new Rows(
  "groups",
  () => [new Cell("", "wide"), new Cell("Behind", "number"), new Cell("Entries behind", "number"), new Cell("Until trimmed", "number")],
  ([name, lag, entries, margin], group) => {
    name.show(group.name);
    lag.show(group.lag_seconds < 0.1 ? "0 s" : span(group.lag_seconds * 1000));
    entries.show(amount(group.lag_entries));
    margin.show(group.margin_seconds === null ? "–" : span(group.margin_seconds * 1000));
  },
);

const button = byId("accepted");
button.addEventListener("click", () => {
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  draw();
});

function draw() {
  const { state } = told;
  if (!state) return;
  drawTop(state);
  calls.show(state.calls, (call) => call.session);
  count("calls", state.totals.calls, state.totals.calls, state.calls.length);
  const withAccepted = button.getAttribute("aria-pressed") === "true";
  const listed = told.attempts.filter((one) => withAccepted || one.outcome === "refused");
  attempts.show(listed.slice(0, SHOWN_MAX), (one) => one.number);
  const refused = told.attempts.filter((one) => one.outcome === "refused");
  count("attempts", refused.length, listed.length, SHOWN_MAX);
  ended.show(told.ended.slice(0, SHOWN_MAX), (call) => call.session);
  count("ended", told.ended.length, told.ended.length, SHOWN_MAX);
  drawService(state);
}

function drawTop(state) {
  const said = summary(state, told.attempts, told.ended);
  write(byId("summary"), said.text);
  optional("advice", said.advice);
  optional("command", said.command, byId("command").firstElementChild);
  const wrong = state.health.problems.length;
  optional("alarm", wrong > 0 && `${plural(wrong, "problem")}, see below: ${state.health.problems[0]}`);
  write(byId("where"), `${state.health.version} on ${location.host}, up ${span(state.health.uptime_s * 1000)}`);
  document.title = `${plural(state.totals.calls, "call")}${wrong ? `, ${plural(wrong, "problem")}` : ""} – rtaa-ingest`;
  announce(wrong > 0 ? `${said.kind} ${plural(wrong, "problem")}.` : said.kind);
}

function drawService(state) {
  const { health } = state;
  const list = byId("problems");
  const sentences = health.problems;
  while (list.children.length > sentences.length) list.lastElementChild.remove();
  while (list.children.length < sentences.length) list.append(element("li"));
  sentences.forEach((sentence, i) => write(list.children[i], sentence));
  list.hidden = sentences.length === 0;
  byId("problems-none").hidden = !list.hidden;
  const toRedis = health.adapter === "redis_streams";
  const room = health.journal_room_s === undefined ? "" : `, room for ${span(health.journal_room_s * 1000)} of this load`;
  const backlog = state.backlog > 0 ? `, ${plural(state.backlog, "frame")} ${health.pubsub ? "on the way to" : "waiting for"} Redis` : "";
  facts([
    [toRedis ? "Redis" : "Destination", toRedis ? (health.pubsub ? "✓ connected" : "✗ not connected") : "the journal on this machine"],
    ["Journal", size(health.journal_bytes) + backlog + room],
    ["New calls", state.not_ready ? `✗ not taken: ${state.not_ready}` : "✓ taken"],
    ["Who may call", `Exotel: ${health.exotel_auth}; custom clients: ${health.jwt ? "with a JWT" : "none"}`],
  ]);
  groups.show(state.groups, (group) => group.name);
  const nobody = health.pubsub ? "No consumer group reads the frames." : "While Redis is away nothing is known of consumer groups.";
  write(groups.none, toRedis ? nobody : "");
}

function facts(pairs) {
  const list = byId("facts");
  if (!list.children.length) list.append(...pairs.map(() => element("div", "", element("dt"), element("dd"))));
  pairs.forEach(([name, text], i) => {
    const [dt, dd] = list.children[i].children;
    write(dt, name);
    write(dd, text);
    writeClass(dd, text.startsWith("✗") ? "bad" : "");
  });
}

function optional(id, text, node = byId(id)) {
  write(node, text || "");
  byId(id).hidden = !text;
}

function count(id, number, rows, most) {
  write(byId(`${id}-count`), number ? amount(number) : "");
  optional(`${id}-more`, rows > most && `The newest ${most} of ${amount(rows)} are shown.`);
}

function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

let announcedAt = -Infinity;
function announce(kind) {
  const at = performance.now();
  if (byId("news").textContent === kind || at - announcedAt < NEWS_EVERY_MS) return;
  announcedAt = at;
  write(byId("news"), kind);
}

function listen() {
  clearTimeout(again);
  again = null;
  source?.close();
  heardAt = performance.now();
  // Nobody looks; the tab says when somebody does.
  if (document.hidden) return;
  source = new EventSource("live/events");
  source.addEventListener("handshakes", (event) => (told.attempts = JSON.parse(event.data).handshakes));
  source.addEventListener("ended", (event) => {
    const calls = JSON.parse(event.data);
    told.ended = calls.map((call) => ({ ...call, ended: new Date(call.end.timestamp_ms).toISOString() }));
  });
  source.addEventListener("state", (event) => {
    heardAt = performance.now();
    [lostAt, why] = [null, ""];
    told.state = JSON.parse(event.data);
    tellLink();
    draw();
  });
  source.addEventListener("error", lost);
}

/** The browser tries again by itself where the stream broke, but not where it was refused. */
function lost() {
  lostAt ??= Date.now();
  tellLink();
  if (source.readyState === EventSource.CLOSED && !again) {
    askWhy();
    again = setTimeout(listen, AGAIN_AFTER_MS);
  }
}

/** An event source keeps to itself what it was answered. */
async function askWhy() {
  const stop = new AbortController();
  try {
    const answer = await fetch("live/events", { signal: stop.signal });
    why = answer.ok ? "" : (await answer.json()).message;
  } catch {
    why = "";
  }
  stop.abort();
  tellLink();
}

function tellLink() {
  const link = byId("link");
  writeClass(link, lostAt === null ? "link" : "link lost");
  if (lostAt === null) {
    write(link, "live");
    return;
  }
  const since = new Date(lostAt).toLocaleTimeString("en-GB");
  write(link, "connection lost");
  write(byId("summary"), `Connection to the service lost since ${since} (${span(Date.now() - lostAt)}); trying again.`);
  optional("advice", why || (told.state ? "What stands below is as it was then." : ""));
  optional("command", "", byId("command").firstElementChild);
  document.title = "connection lost – rtaa-ingest";
  announce("The connection to the service is lost.");
}

setInterval(() => {
  if (document.hidden) return;
  if (lostAt !== null) tellLink();
  if (performance.now() - heardAt > SILENT_AFTER_MS && !again) {
    lostAt ??= Date.now();
    listen();
  }
}, 1000);

document.addEventListener("visibilitychange", () => {
  if (document.hidden) source?.close();
  else listen();
});
listen();
