// An order and its event, in one transaction: node-postgres and the function demae_emit.

const { Client } = require("pg");

async function placeOrder(client, organization, number) {
  await client.query("BEGIN");
  try {
    await client.query("INSERT INTO orders (number) VALUES ($1)", [number]);
    await client.query("SELECT demae_emit($1, 'ORDER_PLACED', 'com.example.order.placed', $2)", [
      organization,
      { number },
    ]);
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

async function main() {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  try {
    await placeOrder(client, process.argv[2], Number(process.argv[3]));
  } finally {
    await client.end();
  }
}

main();
