// The one Trusted Types policy of the pages, for the two places where a browser wants to know that text is ours.

const WORKER = "/static/live-worker.js";
const policy = globalThis.trustedTypes?.createPolicy("perfmon", {
  createHTML: (text) => text,
  createScriptURL: () => WORKER,
});

/** A page of the server's, in which everything from data is escaped, and whose policy lets no script in. */
export const parsed = (text) => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");

/** The worker that all tabs share. */
export const startWorker = () => new SharedWorker(policy ? policy.createScriptURL(WORKER) : WORKER, {type: "module"});
