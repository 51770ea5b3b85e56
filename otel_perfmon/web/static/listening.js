// What the server tells, over a connection that is opened again however it ends.
const PAUSE_MS = 5_000;
const UNAUTHORIZED = 401;

/** Hear of {pulse}, and of {isAway} while nothing answers; {isStranger} beside it where the token is another one now. */
export function listen(tell) {
  const source = new EventSource("/events");
  source.addEventListener("pulse", ({data}) => tell({pulse: JSON.parse(data)}));
  source.addEventListener("error", async () => {
    tell({isAway: true});
    if (source.readyState === EventSource.CLOSED) { // it was refused, after which a browser does not ask again
      const status = await fetch("/events", {method: "HEAD"}).then((response) => response.status, () => 0);
      tell({isAway: true, isStranger: status === UNAUTHORIZED});
      setTimeout(listen, PAUSE_MS, tell);
    }
  });
}
