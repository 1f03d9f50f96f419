// Looks at pages as a person would: in chromium, in light and dark, wide and narrow, with axe, and with the keyboard.
// Usage: node look.mjs CHROMIUM AXE_FOLDER ORDERS.json   The findings go to standard output as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [chromium, folder, ordersFile] = process.argv.slice(2);
const require = createRequire(join(folder, "node_modules", "/"));
const playwright = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const orders = JSON.parse(readFileSync(ordersFile, "utf8"));
const browser = await playwright.chromium.launch({ executablePath: chromium, args: ["--no-sandbox"] });
const found = [];

// Playwright's own evaluate passes by the page's policy, so axe runs although pages allow no script at all.
async function violations(page) {
  await page.evaluate(axe);
  const told = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  return told.violations.flatMap((one) =>
    one.nodes.map((node) => `${one.id}: ${node.target.join(" ")}: ${node.failureSummary.replace(/\s+/g, " ")}`),
  );
}

async function keyboard(page, most) {
  const order = [];
  for (let step = 0; step < most; step += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const here = document.activeElement;
      if (!here || here === document.body) return null;
      const box = here.getBoundingClientRect();
      const style = getComputedStyle(here);
      return {
        what: (here.getAttribute("aria-label") || here.innerText || here.name || here.tagName).trim().slice(0, 60),
        top: Math.round(box.top + scrollY),
        left: Math.round(box.left),
        seen: here.matches(":focus-visible") && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
        inView: box.bottom > 0 && box.top < innerHeight,
      };
    });
    if (at === null) break;
    order.push(at);
  }
  return order;
}

async function look(order) {
  const context = await browser.newContext({
    viewport: { width: order.width || 1280, height: order.height || 900 },
    colorScheme: order.scheme || "light",
    javaScriptEnabled: order.script !== false,
    deviceScaleFactor: order.scale || 1,
  });
  const page = await context.newPage();
  const troubles = [];
  page.on("console", (said) => { if (["error", "warning"].includes(said.type())) troubles.push(said.text()); });
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("dialog", async (dialog) => { troubles.push(`dialog: ${dialog.message()}`); await dialog.dismiss(); });
  page.on("requestfailed", (request) => troubles.push(`failed: ${request.url()}`));
  const answer = { name: order.name, steps: [] };
  for (const step of order.steps) {
    const told = { step: step.do };
    if (step.do === "goto") {
      const response = await page.goto(step.url);
      told.status = response.status();
    } else if (step.do === "click") {
      const [response] = await Promise.all([page.waitForNavigation(), page.click(step.on)]);
      told.status = response ? response.status() : 0;
    } else if (step.do === "fill") {
      await page.fill(step.on, step.text);
    } else if (step.do === "press") {
      const [response] = await Promise.all([page.waitForNavigation(), page.keyboard.press(step.key)]);
      told.status = response ? response.status() : 0;
    } else if (step.do === "enter") {
      await page.keyboard.press("Enter");
    } else if (step.do === "axe") {
      told.violations = await violations(page);
    } else if (step.do === "keyboard") {
      told.order = await keyboard(page, step.most || 40);
    } else if (step.do === "overflow") {
      told.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    } else if (step.do === "cookies") {
      told.cookies = await context.cookies();
    } else if (step.do === "shot") {
      await page.screenshot({ path: step.path, fullPage: step.whole !== false });
    }
    told.url = page.url();
    told.title = await page.title();
    if (step.text_of) told.text = (await page.textContent(step.text_of)).replace(/\s+/g, " ").trim();
    answer.steps.push(told);
  }
  answer.troubles = troubles;
  await context.close();
  return answer;
}

try {
  for (const order of orders) found.push(await look(order));
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(found));
