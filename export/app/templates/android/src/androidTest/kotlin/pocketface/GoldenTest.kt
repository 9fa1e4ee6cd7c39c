// ./gradlew :pocketface:connectedAndroidTest embeds every golden face with every file on the phone that is connected.
package pocketface

import androidx.test.ext.junit.runners.AndroidJUnit4
import androidx.test.platform.app.InstrumentationRegistry
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith

@RunWith(AndroidJUnit4::class)
class GoldenTest {
    @Test
    fun everyFileEmbedsTheGoldenFacesAsRecorded() {
        val golden = InstrumentationRegistry.getInstrumentation().context.assets
        val app = InstrumentationRegistry.getInstrumentation().targetContext.assets
        for (file in FILES) {
            FaceEmbedder(app, file).use { embedder ->
                for (outcome in embedder.selfTest(golden)) assertTrue("${file.name}: $outcome", outcome.passed)
            }
        }
    }
}
