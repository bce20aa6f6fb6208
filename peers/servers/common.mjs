// What every reference server here sells, who is paid, and who settles: `node serve-….mjs FACILITATOR_URL`, with FACILITATOR_TOKEN in
// the environment. Each says on which port of 127.0.0.1 it listens, and once for each run of its handler that it ran.
export const PAYEE = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
export const PRICE = "$0.01";
export const BODY = "served";

const Authorization = `Bearer ${process.env.FACILITATOR_TOKEN}`;
export const facilitator = {
  url: process.argv[2],
  createAuthHeaders: async () => ({
    verify: { Authorization },
    settle: { Authorization },
    supported: { Authorization },
    bazaar: { Authorization },
  }),
};

export const ran = () => console.log("ran");
export const listening = (port) => console.log(`Listening on 127.0.0.1:${port}`);
