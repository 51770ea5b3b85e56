// Questions to the JSON API. Moments in nanoseconds are beyond what a number here holds exactly; pictures need no more
// than milliseconds, and exact ones come with the server's HTML.

/** The answer to a question; throws what the server said when there is none. */
export async function ask(address) {
  const response = await fetch(address, {headers: {Accept: "application/json"}});
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(answer.message);
  }
  return answer;
}

const asked = new Map();

/** The same for several who ask at the same time: they share one answer. */
export function askTogether(address) {
  if (!asked.has(address)) {
    asked.set(address, ask(address).finally(() => asked.delete(address)));
  }
  return asked.get(address);
}
